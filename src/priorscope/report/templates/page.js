"use strict";
(() => {
  const root = document.documentElement;
  const data = JSON.parse(document.getElementById("data").textContent);
  const views = new Map();
  const hidden = new Set();
  const apart = ["hconcat", "vconcat", "concat", "facet", "repeat"];

  const inDark = (spec) => {
    if (typeof spec === "string") return data.darkOf[spec] ?? spec;
    if (Array.isArray(spec)) return spec.map(inDark);
    if (spec && typeof spec === "object") return Object.fromEntries(Object.entries(spec).map(([k, v]) => [k, inDark(v)]));
    return spec;
  };
  const themed = (spec) => (root.dataset.theme === "dark" ? inDark(spec) : spec);

  // Charts: drawn when they come near, the rest when the reader is idle, all of them for print.

  const withoutHidden = (datasets) =>
    Object.fromEntries(Object.entries(datasets ?? {}).map(([name, rows]) => [name, rows.filter((row) => !hidden.has(row.family))]));

  const sized = (spec, width) => {
    if (!apart.some((part) => part in spec)) return spec.width ? spec : { ...spec, width, autosize: { type: "fit-x", contains: "padding" } };
    if (!spec.concat || !spec.concat.every((part) => typeof part.width === "number")) return spec;
    const columns = Math.min(width >= 700 ? 2 : 1, spec.concat.length);
    const named = (spec.datasets.rows ?? []).some((row) => row.end); // names beside the curves' ends
    const room = Math.max(Math.floor((width - 28 * (columns - 1)) / columns) - (named ? 210 : 90), 180); // 90: what an axis takes
    return { ...spec, columns, concat: spec.concat.map((part) => ({ ...part, width: room })) };
  };

  const draw = async (chart) => {
    const figure = data.figures[chart.dataset.figure];
    chart.dataset.drawn = "yes";
    const spec = sized({ ...themed(figure.spec), datasets: withoutHidden(figure.spec.datasets), background: "transparent" }, chart.clientWidth);
    const config = { ...themed(data.theme), ...(chart.clientWidth < 480 ? { legend: { ...themed(data.theme).legend, columns: 3 } } : {}) };
    const drawn = await vegaEmbed(chart, spec, { actions: false, renderer: "svg", ast: true, config, tooltip: { theme: root.dataset.theme } });
    views.get(chart)?.finalize();
    views.set(chart, drawn);
    chart.querySelector("svg")?.setAttribute("aria-hidden", "true"); // the text alternative stands on the chart itself
  };
  const charts = [...document.querySelectorAll(".chart")];
  const waiting = () => charts.filter((chart) => !chart.dataset.drawn);
  let wide = innerWidth;
  let resizing;
  addEventListener("resize", () => {
    clearTimeout(resizing);
    resizing = setTimeout(() => {
      if (innerWidth !== wide) redraw(); // a phone's bars change the height alone
      wide = innerWidth;
    }, 250);
  });
  const redraw = () => charts.filter((chart) => chart.dataset.drawn).forEach(draw);

  const seen = new IntersectionObserver(
    (entries) => entries.filter((e) => e.isIntersecting && !e.target.dataset.drawn).forEach((e) => draw(e.target)),
    { rootMargin: "400px" },
  );
  charts.forEach((chart) => seen.observe(chart));
  const idle = window.requestIdleCallback ?? ((work) => setTimeout(work, 200));
  const drawRest = () => {
    const next = waiting()[0];
    if (next) draw(next).then(() => idle(drawRest));
  };
  addEventListener("load", () => setTimeout(() => idle(drawRest), 1000));
  addEventListener("beforeprint", () => waiting().forEach(draw));

  // Light and dark.

  document.getElementById("theme").addEventListener("click", () => {
    root.dataset.theme = root.dataset.theme === "dark" ? "light" : "dark";
    try { localStorage.setItem("priorscope-theme", root.dataset.theme); } catch { /* a page opened from a file may have no storage */ }
    redraw();
  });

  // Families shown.

  document.querySelectorAll(".families input").forEach((box) =>
    box.addEventListener("change", () => {
      if (box.checked) hidden.delete(box.value);
      else hidden.add(box.value);
      document.querySelectorAll("tr[data-family]").forEach((row) => (row.hidden = hidden.has(row.dataset.family)));
      redraw();
    }),
  );

  // Downloads.

  const save = (name, url) => {
    const link = Object.assign(document.createElement("a"), { href: url, download: name });
    link.click();
    setTimeout(() => URL.revokeObjectURL(url), 10000);
  };
  const saveText = (name, text, type) => save(name, URL.createObjectURL(new Blob([text], { type })));
  const saveFigure = async (id, kind) => {
    const { name, csv, title, note, alt, spec } = data.figures[id];
    if (kind === "csv") return saveText(`${name}.csv`, csv, "text/csv");
    const on = document.createElement("div");
    const size = apart.some((part) => part in spec) ? {} : { width: spec.width ?? 640 };
    const full = { ...spec, ...size, description: alt, padding: 12, background: data.paper.light, title: { text: wrapped(title, 84), subtitle: wrapped(note, 104) } };
    const { view } = await vegaEmbed(on, full, { actions: false, ast: true, config: data.theme });
    if (kind === "svg") saveText(`${name}.svg`, await view.toSVG(), "image/svg+xml");
    else save(`${name}.png`, await view.toImageURL("png", 2));
    view.finalize();
  };
  const wrapped = (text, most) => {
    const lines = [""];
    for (const word of text.split(" ")) {
      const last = lines[lines.length - 1];
      if (last && last.length + word.length >= most) lines.push(word);
      else lines[lines.length - 1] = last ? `${last} ${word}` : word;
    }
    return lines;
  };
  document.querySelectorAll("[data-save]").forEach((button) => button.addEventListener("click", () => saveFigure(button.dataset.of, button.dataset.save)));

  // Tables that sort.

  const valueOf = (row, column) => {
    const told = row.cells[column].dataset.value;
    return told === undefined ? null : Number.isNaN(Number(told)) || told === "" ? told : Number(told);
  };
  const compare = (a, b) => (typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b), "en", { numeric: true }));
  document.querySelectorAll("table.sortable").forEach((table) =>
    table.querySelectorAll("thead button").forEach((button) =>
      button.addEventListener("click", () => {
        const head = button.closest("th");
        const column = head.cellIndex;
        const first = head.classList.contains("number") ? "descending" : "ascending";
        const other = first === "ascending" ? "descending" : "ascending";
        const order = head.getAttribute("aria-sort") === first ? other : first;
        table.querySelectorAll("thead th").forEach((th) => th.setAttribute("aria-sort", th === head ? order : "none"));
        const rows = [...table.tBodies[0].rows];
        const sign = order === "ascending" ? 1 : -1;
        rows.sort((a, b) => {
          const [x, y] = [valueOf(a, column), valueOf(b, column)];
          if (x === null || y === null) return (x === null) - (y === null); // what was not measured stands last either way
          return sign * compare(x, y);
        });
        table.tBodies[0].append(...rows);
      }),
    ),
  );
})();
