// What a test asks of an open page, in one object. Called once per page, width and theme.
() => {
  const main = document.querySelector("article") ?? document.body;
  const shown = element => element.checkVisibility({ visibilityProperty: true, opacityProperty: true });
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];

  const parsed = colour => {
    const [red, green, blue, alpha = 1] = colour.match(/[\d.]+/g).map(Number);
    return { channels: [red, green, blue], alpha };
  };
  const over = (front, behind) => front.channels.map((each, i) => each * front.alpha + behind[i] * (1 - front.alpha));
  const background = element => {
    if (!element) return [255, 255, 255];
    const own = parsed(getComputedStyle(element).backgroundColor);
    return own.alpha === 1 ? own.channels : over(own, background(element.parentElement));
  };
  const luminance = channels => {
    const linear = channels.map(each => each / 255).map(each => each <= 0.04045 ? each / 12.92 : ((each + 0.055) / 1.055) ** 2.4);
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2];
  };
  // as WCAG 2 defines it, of an element's text with what is behind it
  const contrast = element => {
    const behind = background(element);
    const bright = [over(parsed(getComputedStyle(element).color), behind), behind].map(luminance).sort((a, b) => b - a);
    return (bright[0] + 0.05) / (bright[1] + 0.05);
  };
  const pale = () => {
    const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    const seen = new Set(), found = [];
    while (texts.nextNode()) {
      const element = texts.currentNode.parentElement;
      if (!texts.currentNode.data.trim() || seen.has(element) || !shown(element) || element.closest("mjx-container, svg, .visually-hidden")) continue;
      seen.add(element);
      const style = getComputedStyle(element), size = parseFloat(style.fontSize);
      const large = size >= 24 || (size >= 18.66 && style.fontWeight >= 700);
      if (contrast(element) < (large ? 3 : 4.5)) found.push(`${texts.currentNode.data.trim().slice(0, 30)} (${contrast(element).toFixed(1)})`);
    }
    return found;
  };
  const lines = element => {
    const range = document.createRange();
    range.selectNodeContents(element);
    return new Set([...range.getClientRects()].map(box => Math.round(box.top / 4))).size;
  };

  return {
    width: document.documentElement.scrollWidth,
    ids: all("[id]").map(each => each.id),
    links: all("a[href]").map(each => each.href),
    images: all("img", main).map(each => ({ source: each.getAttribute("src"), alt: each.alt, loaded: each.naturalWidth > 0, top: each.getBoundingClientRect().top + scrollY })),
    figures: all("figure", main).map(each => each.querySelector("figcaption .caption-number")?.textContent ?? ""),
    formulas: all(".math", main).filter(each => !each.querySelector("mjx-container") || each.querySelector("mjx-merror")).map(each => each.textContent),
    broken: all("td", main).filter(each => /\d\s*(±|\+-)\s*\d/.test(each.innerText) && shown(each) && lines(each) > each.innerText.split("\n").length).map(each => each.innerText),
    cut: all("td", main).filter(each => shown(each) && each.innerText.split(/\s+/).length > 8 && each.getBoundingClientRect().right > main.getBoundingClientRect().right + 1).map(each => each.innerText),
    pale: pale(),
  };
}
