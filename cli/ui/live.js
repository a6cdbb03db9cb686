"use strict";
// Replaces what a page shows when there is a newer version of it. It asks only while the page is
// seen, and the server answers from names of files.
(() => {
  const EVERY_MS = 2000;
  const AFTER_FAILURE_MS = 10000;
  const part = () => document.getElementById("live");
  if (!part()) return;

  const tell = (text) => {
    const line = document.getElementById("as-of");
    line.dataset.asOf ??= line.textContent;
    line.textContent = `${line.dataset.asOf}; ${text}`;
  };

  // Who has zoomed in would be thrown out of the zoom.
  const isZoomed = () => [...document.querySelectorAll(".box")]
    .some((box) => box.span && (box.span[0] > 0 || box.span[1] < 1000));

  const nameOf = (entry) => `${entry.closest("figure").querySelector("h3").textContent} ${entry.dataset.place}`;

  const replace = (page) => {
    const fresh = page.getElementById("live");
    if (!fresh) return;
    const chosen = new Set([...document.querySelectorAll("#live input:checked")].map((box) => box.value));
    const off = new Set([...document.querySelectorAll("#live .key li.off")].map(nameOf));
    part().replaceWith(document.adoptNode(fresh));
    document.dispatchEvent(new Event("drawn"));
    document.querySelectorAll("#live input").forEach((box) => { box.checked = chosen.has(box.value); });
    document.querySelectorAll("#live .key li").forEach((entry) => {
      if (off.has(nameOf(entry))) entry.click();
    });
  };

  const look = async () => {
    const asked = { headers: { "If-None-Match": `"${part().dataset.version}"` }, cache: "no-store" };
    const answer = await fetch(location.href, { ...asked, method: "HEAD" });
    if (answer.ok) {
      const page = await fetch(location.href, asked);
      if (page.ok) replace(new DOMParser().parseFromString(await page.text(), "text/html"));
    }
    const isThere = answer.ok || answer.status === 304;
    tell(isThere ? "kept up to date" : `the server says ${answer.status}; reload the page to see why`);
    return isThere;
  };

  const turn = async () => {
    let wait = EVERY_MS;
    try {
      if (isZoomed()) tell("waits while a curve is zoomed; a double click zooms out");
      else if (!document.hidden && !(await look())) wait = AFTER_FAILURE_MS;
    } catch {
      tell("the server has ended; the page stays as it is");
      wait = AFTER_FAILURE_MS;
    }
    setTimeout(turn, wait);
  };
  setTimeout(turn, EVERY_MS);
})();
