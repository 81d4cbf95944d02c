"use strict";
// Sorts the table by the column whose heading is pressed; again: the other way round. Empty cells stay last.
const body = document.querySelector("tbody");
for (const heading of document.querySelectorAll("th")) {
  heading.querySelector("button").addEventListener("click", () => {
    const up = heading.getAttribute("aria-sort") !== "ascending";
    for (const other of document.querySelectorAll("th")) other.removeAttribute("aria-sort");
    heading.setAttribute("aria-sort", up ? "ascending" : "descending");
    const key = (row) => row.cells[heading.cellIndex].dataset.value;
    const number = [...body.rows].every((row) => key(row) === "" || !isNaN(Number(key(row))));
    const rows = [...body.rows].sort((one, other) => {
      const a = key(one), b = key(other);
      if (a === "" || b === "") return (a === "") - (b === "");
      const order = number ? Number(a) - Number(b) : a.localeCompare(b);
      return up ? order : -order;
    });
    body.append(...rows);
  });
}
