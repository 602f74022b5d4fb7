// Values at the pointer, and lines that a click on the legend hides. Without it the plots are complete all the same.
"use strict";
let plots = 0, lines = 0;
for (const figure of document.querySelectorAll("figure")) {
  const svg = figure.querySelector("svg.plot"), tip = figure.querySelector(".tip"), cursor = svg.querySelector(".cursor");
  const data = JSON.parse(svg.dataset.plot), groups = [...svg.querySelectorAll("g.line")];
  plots += svg.getBoundingClientRect().height > 100;
  lines += groups.filter((group) => group.getBBox().width > 0).length;
  figure.querySelectorAll(".legend button").forEach((button, number) => {
    button.addEventListener("click", () => groups[number].classList.toggle("off", button.classList.toggle("off")));
  });
  svg.addEventListener("pointermove", (event) => {
    const box = svg.getBoundingClientRect(), x = ((event.clientX - box.left) / box.width) * svg.viewBox.baseVal.width;
    let nearest = null;
    const shown = data.lines.filter((line, number) => line.points.length && !groups[number].classList.contains("off"));
    const at = (line) => line.points.reduce((best, point) => (Math.abs(point[0] - x) < Math.abs(best[0] - x) ? point : best));
    const found = shown.map((line) => ({ line, point: at(line) }));
    for (const { point } of found) if (!nearest || Math.abs(point[0] - x) < Math.abs(nearest[0] - x)) nearest = point;
    if (!nearest) return;
    tip.replaceChildren();
    const head = document.createElement("b");
    head.textContent = nearest[2] + "  " + data.x;
    tip.append(head);
    for (const { line, point } of found) {
      if (Math.abs(point[0] - nearest[0]) > 12) continue;
      const row = document.createElement("div");
      row.className = "c" + line.colour;
      row.textContent = line.name + ": " + point[3];
      tip.append(row);
    }
    cursor.setAttribute("transform", "translate(" + nearest[0] + " 0)");
    cursor.setAttribute("visibility", "visible");
    tip.style.visibility = "visible";
    const left = event.clientX - figure.getBoundingClientRect().left, room = figure.clientWidth - tip.offsetWidth - 8;
    tip.style.left = Math.max(0, Math.min(left + 14, room)) + "px";
    tip.style.top = event.clientY - figure.getBoundingClientRect().top + 14 + "px";
  });
  svg.addEventListener("pointerleave", () => {
    tip.style.visibility = "hidden";
    cursor.setAttribute("visibility", "hidden");
  });
}
// What was drawn, for the test that opens this page in a browser.
document.documentElement.dataset.drawn = plots + " plots, " + lines + " lines";
