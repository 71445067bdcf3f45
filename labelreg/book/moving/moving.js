// Starts the pieces of a page that are not moving yet; each is drawn in its first state already.
(() => {
  const sum = numbers => numbers.reduce((total, each) => total + each, 0);

  // Sliders choose one of the frames, which are nested as the sliders stand: a path or a text for each part.
  const frames = (piece, { values, frames }) => {
    const sliders = [...piece.querySelectorAll("input")];
    const parts = [...piece.querySelectorAll("[data-part]")];
    const show = () => {
      const frame = sliders.reduce((nested, slider) => nested[slider.value], frames);
      parts.forEach((part, i) => part.localName === "path" ? part.setAttribute("d", frame[i]) : (part.textContent = frame[i]));
      const told = parts.filter(part => part.localName === "text").map(part => `${part.dataset.part} ${part.textContent}`.trim());
      sliders.forEach((slider, i) => {
        const value = values[i][slider.value];
        slider.nextElementSibling.textContent = value;
        slider.setAttribute("aria-valuetext", [value, ...told].join(", "));
      });
    };
    sliders.forEach(slider => slider.addEventListener("input", show));
    show();
  };

  // A prediction is dragged in a triangle; it is of the first class. Bars are pushes on the logits, arrows where they lead.
  const triangle = (piece, { corners, soft, classes, scale, rate, least }) => {
    const handle = piece.querySelector("[role=slider]");
    const field = handle.ownerSVGElement;
    const all = name => [...piece.querySelectorAll(name)];
    const bars = all(".bar"), numbers = all(".number"), arrows = all(".arrow");
    let prediction;

    const pushes = p => [
      p.map((share, i) => (i === 0) - share),
      p.map((share, i) => soft[i] - share),
      p.map((share, i) => i === 0 ? 0 : soft[i] / (1 - soft[0]) - share / (1 - p[0])),
    ];
    const place = p => [0, 1].map(axis => sum(p.map((share, i) => share * corners[i][axis])));
    const stepped = (p, push) => {
      const grown = p.map((share, i) => share * Math.exp(rate * push[i]));
      return grown.map(each => each / sum(grown));
    };
    const show = p => {
      prediction = p;
      const [x, y] = place(p), asked = pushes(p);
      handle.setAttribute("transform", `translate(${x} ${y})`);
      handle.setAttribute("aria-valuenow", Math.round(100 * p[0]));
      handle.setAttribute("aria-valuetext", p.map((share, i) => `${classes[i]} ${share.toFixed(2)}`).join(", "));
      asked.flat().forEach((push, i) => {
        bars[i].setAttribute("x2", +bars[i].getAttribute("x1") + scale * push);
        numbers[i].textContent = Math.abs(push) < 0.005 ? "0.00" : (push > 0 ? "+" : "−") + Math.abs(push).toFixed(2);
      });
      arrows.forEach((arrow, i) => {
        const [right, down] = place(stepped(p, asked[i]));
        Object.entries({ x1: x, y1: y, x2: right, y2: down }).forEach(([name, value]) => arrow.setAttribute(name, value));
      });
    };
    const moveTo = (x, y) => {
      const [[ax, ay], [bx, by], [cx, cy]] = corners;
      const area = (by - cy) * (ax - cx) + (cx - bx) * (ay - cy);
      const first = ((by - cy) * (x - cx) + (cx - bx) * (y - cy)) / area;
      const second = ((cy - ay) * (x - cx) + (ax - cx) * (y - cy)) / area;
      const inside = [first, second, 1 - first - second].map(share => Math.max(share, least));
      show(inside.map(share => share / sum(inside)));
    };
    const follow = event => {
      const { x, y } = new DOMPoint(event.clientX, event.clientY).matrixTransform(field.getScreenCTM().inverse());
      moveTo(x, y);
    };
    handle.addEventListener("pointerdown", event => handle.setPointerCapture(event.pointerId));
    handle.addEventListener("pointermove", event => handle.hasPointerCapture(event.pointerId) && follow(event));
    piece.querySelector("polygon").addEventListener("click", follow);
    const steps = { ArrowLeft: [-4, 0], ArrowRight: [4, 0], ArrowUp: [0, -4], ArrowDown: [0, 4] };
    handle.addEventListener("keydown", event => {
      if (!steps[event.key]) return;
      event.preventDefault();
      const [x, y] = place(prediction), [right, down] = steps[event.key];
      moveTo(x + right, y + down);
    });
    show(JSON.parse(handle.dataset.prediction));
  };

  const kinds = { frames, triangle };
  for (const piece of document.querySelectorAll("[data-moving]")) {
    const kind = piece.dataset.moving;
    delete piece.dataset.moving;
    kinds[kind](piece, JSON.parse(piece.querySelector("script[type='application/json']").textContent));
    piece.classList.add("started");
  }
})();
