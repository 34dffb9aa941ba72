"use strict";
const tip = document.getElementById("tip");

function show(point) {
  const box = point.getBoundingClientRect();
  tip.textContent = point.dataset.tip;
  tip.hidden = false;
  const left = Math.min(box.left, document.documentElement.clientWidth - tip.offsetWidth - 8);
  const above = box.top - tip.offsetHeight - 4;
  tip.style.left = Math.max(8, left) + "px";
  tip.style.top = (above < 8 ? box.bottom + 4 : above) + "px";
}

for (const point of document.querySelectorAll("[data-tip]")) {
  for (const event of ["pointerenter", "focus"]) point.addEventListener(event, () => show(point));
  for (const event of ["pointerleave", "blur"]) point.addEventListener(event, () => { tip.hidden = true; });
}

// "US$1,234.5", "94.2% (…)" and "+12" sort by their first figure, everything else by its letters.
function value(row, column) {
  const text = row.cells[column].textContent;
  const figure = text.replace(/US\$|,/g, "").replace("−", "-").match(/^[-+]?\d*\.?\d+(e[-+]?\d+)?/);
  return figure ? Number(figure[0]) : text;
}

function sort(header) {
  const table = header.closest("table"), column = header.cellIndex;
  const ascending = header.getAttribute("aria-sort") === "descending";
  for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
  header.setAttribute("aria-sort", ascending ? "ascending" : "descending");
  const rows = [...table.tBodies[0].rows].sort((one, other) => {
    const a = value(one, column), b = value(other, column);
    const order = typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b));
    return ascending ? order : -order;
  });
  table.tBodies[0].append(...rows);
}

for (const header of document.querySelectorAll("thead th")) {
  if (!header.textContent) continue;
  const button = document.createElement("button");
  button.append(...header.childNodes);
  button.addEventListener("click", () => sort(header));
  header.append(button);
}

// Printing shows everything.
addEventListener("beforeprint", () => {
  for (const part of document.querySelectorAll("details")) part.open = true;
});
