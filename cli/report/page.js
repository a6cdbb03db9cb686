"use strict";
// Adds to drawings that are complete without it: values under the pointer, zoom along the steps,
// and curves that a click on the key hides. It writes text only, never markup.
(() => {
  const tip = document.createElement("div");
  tip.className = "tip";
  tip.hidden = true;
  document.body.append(tip);

  const written = (value) => (typeof value === "number" ? String(Number(value.toPrecision(4))) : value);

  const show = (event, lines) => {
    tip.textContent = lines.join("\n");
    tip.hidden = false;
    const left = Math.min(event.clientX + 14, window.innerWidth - tip.offsetWidth - 8);
    const top = event.clientY + 16 + tip.offsetHeight > window.innerHeight
      ? event.clientY - tip.offsetHeight - 10 : event.clientY + 16;
    tip.style.left = `${Math.max(left, 4)}px`;
    tip.style.top = `${Math.max(top, 4)}px`;
  };

  const span = (box) => box.span || [0, 1000];
  const placeOf = (box, event) => {
    const area = box.getBoundingClientRect();
    const share = Math.min(Math.max((event.clientX - area.left) / area.width, 0), 1);
    const [from, to] = span(box);
    return { across: from + share * (to - from), down: (event.clientY - area.top) / area.height, share };
  };

  const points = (path) => {
    path.points ||= [...path.getAttribute("d").matchAll(/[ML]([\d.]+) ([\d.]+)/g)]
      .map((found) => [Number(found[1]), Number(found[2])]);
    return path.points;
  };

  const nearest = (list, across) => list.reduce(
    (best, one) => (Math.abs(one[0] - across) < Math.abs(best[0] - across) ? one : best), list[0]);

  const lineTip = (box, of, place) => {
    const value = (y) => {
      const up = 1 - y / 1000;
      const [low, high] = of.y;
      return of.log ? low * (high / low) ** up : low + up * (high - low);
    };
    const paths = [...box.querySelectorAll("path.line")].filter((path) => !path.hasAttribute("hidden"));
    const found = paths.filter((path) => points(path).length)
      .map((path) => [path, nearest(points(path), place.across)]);
    if (!found.length) return [];
    const step = of.x[0] + (place.across / 1000) * (of.x[1] - of.x[0]);
    return [`step ${Math.round(step)}`,
      ...found.map(([path, point]) => `${path.dataset.name}: ${written(value(point[1]))}`)];
  };

  const rowTip = (_box, of, place) => {
    const row = Math.min(Math.floor(place.down * of.names.length), of.names.length - 1);
    const values = of.values[Math.max(row, 0)];
    const column = Math.min(Math.floor((place.across / 1000) * values.length), values.length - 1);
    const value = values[column];
    const first = Math.ceil((column * of.n) / values.length);
    const last = Math.max(Math.ceil(((column + 1) * of.n) / values.length) - 1, first);
    const text = value === null ? "no sample"
      : of.percent && typeof value === "number" ? `${written(100 * value)} %` : written(value);
    return [of.names[Math.max(row, 0)], `steps ${first}-${last}`, text];
  };

  const zoom = (box, from, to) => {
    box.span = [from, to];
    box.querySelector("svg").setAttribute("viewBox", `${from} 0 ${to - from} 1000`);
    const labels = box.parentElement.querySelectorAll(".below span");
    labels.forEach((label) => {
      label.at ??= 10 * Number.parseFloat(label.style.left);
      const share = (label.at - from) / (to - from);
      label.style.left = `${100 * share}%`;
      label.hidden = share < 0 || share > 1;
    });
  };

  const brush = (box) => {
    let start = null;
    const mark = document.createElement("div");
    mark.className = "picked";
    box.addEventListener("pointerdown", (event) => {
      if (event.pointerType !== "mouse" || event.button) return;
      start = placeOf(box, event);
      box.setPointerCapture(event.pointerId);
      event.preventDefault();
    });
    box.addEventListener("pointermove", (event) => {
      if (!start) return;
      const now = placeOf(box, event);
      mark.style.left = `${100 * Math.min(now.share, start.share)}%`;
      mark.style.width = `${100 * Math.abs(now.share - start.share)}%`;
      if (!mark.isConnected) box.append(mark);
    });
    box.addEventListener("pointerup", (event) => {
      if (!start) return;
      const end = placeOf(box, event);
      const ends = [start.across, end.across].sort((a, b) => a - b);
      if (ends[1] - ends[0] > 8) zoom(box, ...ends);
      start = null;
      mark.remove();
    });
    box.addEventListener("dblclick", () => zoom(box, 0, 1000));
  };

  const follow = (box) => {
    const of = JSON.parse(box.dataset.of);
    const tell = { lines: lineTip, rows: rowTip }[box.dataset.kind];
    if (!tell) return;
    const cursor = document.createElement("div");
    cursor.className = "cursor";
    box.addEventListener("pointermove", (event) => {
      const place = placeOf(box, event);
      const lines = tell(box, of, place);
      cursor.style.left = `${100 * place.share}%`;
      if (!cursor.isConnected) box.append(cursor);
      if (lines.length) show(event, lines);
    });
    box.addEventListener("pointerleave", () => { tip.hidden = true; cursor.remove(); });
    if (box.dataset.kind === "lines") brush(box);
  };

  const hide = (entry) => {
    entry.style.cursor = "pointer";
    entry.addEventListener("click", () => {
      const off = entry.classList.toggle("off");
      entry.closest("figure").querySelectorAll(`.box [data-place="${entry.dataset.place}"]`)
        .forEach((path) => {
          path.toggleAttribute("hidden", off);
          path.style.display = off ? "none" : "";
        });
    });
  };

  const wire = () => {
    tip.hidden = true;
    document.querySelectorAll(".box[data-kind]").forEach(follow);
    document.querySelectorAll(".key li").forEach(hide);
  };
  wire();
  document.addEventListener("drawn", wire); // whoever replaces the drawings says so
})();
