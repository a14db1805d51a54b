for (const choice of document.querySelectorAll("select[data-sorts]")) {
  choice.addEventListener("change", () => {
    const box = document.getElementById(choice.dataset.sorts);
    const rows = [...box.children];
    rows.forEach((row, place) => { row.dataset.place ??= place; });
    const gain = (row) => Number(row.dataset[choice.value] ?? -Infinity);
    rows.sort((a, b) => (choice.value && gain(b) - gain(a)) || a.dataset.place - b.dataset.place);
    box.append(...rows);
  });
}
