/* Tables of class "sortable": a heading's button sorts the rows by its column, pressed again the other way round. */
{
  const text = (row, column) => row.cells[column].textContent.trim();

  function compare(one, other, column, sign) {
    const [a, b] = [one, other].map((row) => parseFloat(text(row, column))); // "27.1 ± 0.2 *" is 27.1
    if (isNaN(a) !== isNaN(b)) return isNaN(a) ? 1 : -1; // what is empty comes last either way
    return sign * (isNaN(a) ? text(one, column).localeCompare(text(other, column)) : a - b);
  }

  function sort(table, heading) {
    const up = heading.getAttribute("aria-sort") !== "ascending";
    table.querySelectorAll("th[aria-sort]").forEach((each) => each.removeAttribute("aria-sort"));
    heading.setAttribute("aria-sort", up ? "ascending" : "descending");
    const body = table.tBodies[0];
    body.append(...[...body.rows].sort((one, other) => compare(one, other, heading.cellIndex, up ? 1 : -1)));
  }

  document.addEventListener("DOMContentLoaded", () => {
    for (const table of document.querySelectorAll("table.sortable")) {
      for (const heading of [...table.tHead.rows].at(-1).cells) {
        const button = document.createElement("button");
        button.append(heading.textContent.trim() || "method");
        button.addEventListener("click", () => sort(table, heading));
        heading.replaceChildren(button);
      }
    }
  });
}
