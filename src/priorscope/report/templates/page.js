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

  // Models chosen: rows about the others are left out. A column is about models where most of what it names are models, alone,
  // in pairs, or followed by a part of theirs ("cnn-s0 blocks/1/out"); a row of which only the family is known goes with it all.

  const recipeOf = new Map(data.models.flatMap(({ recipe, runs }) => [recipe, ...runs].map((name) => [name, recipe])));
  const modelIn = (value) => {
    for (let end = value.length; end > 0; end = value.lastIndexOf(" ", end - 1))
      for (const name of [value.slice(0, end), value.slice(0, end).replace(/,$/, "")]) if (recipeOf.has(name)) return recipeOf.get(name);
    return undefined;
  };
  const modelsIn = (value) => value.split(/ (?:~|→|->) /).map(modelIn);
  const aboutModels = (rows) =>
    [...new Set(rows.flatMap(Object.keys))].filter((column) => {
      if (column === "family") return false;
      const named = [...new Set(rows.map((row) => row[column]))].filter((value) => typeof value === "string");
      return named.filter((value) => modelsIn(value).some(Boolean)).length > named.length / 2;
    });
  const shownOf = (rows) => {
    if (!hidden.size) return rows;
    const columns = aboutModels(rows);
    const gone = new Set(data.models.map(({ family }) => family).filter((family) => data.models.every((one) => one.family !== family || hidden.has(one.recipe))));
    return rows.filter((row) => !gone.has(row.family) && !columns.some((column) => typeof row[column] === "string" && modelsIn(row[column]).some((recipe) => hidden.has(recipe))));
  };
  const withoutHidden = (datasets) => Object.fromEntries(Object.entries(datasets ?? {}).map(([name, rows]) => [name, shownOf(rows)]));

  // Zoom: on every continuous axis; by dragging, by the wheel with Ctrl held, and by buttons.

  const moves = {
    type: "interval",
    zoom: "wheel![event.ctrlKey]",
    translate: "[pointerdown[event.pointerType !== 'touch'], window:pointerup] > window:pointermove!",
  };
  const parted = (spec) => ["concat", "hconcat", "vconcat"].find((kind) => kind in spec);
  const continuous = (part, unit) =>
    ["x", "y"].filter((axis) => {
      const channel = (unit.encoding ?? {})[axis] ?? (part.encoding ?? {})[axis];
      return channel && channel.type === "quantitative" && channel.field && !channel.bin && !channel.aggregate && !channel.stack;
    });
  // A name at the end of a curve, or of a line to compare with, stands beside the chart and is not cut at its edge: it goes when
  // its point is out of sight, and waits at the edge, because what is drawn far away would move the legend.
  const inSight = (unit, zoomed) => {
    if (unit.mark.type !== "text" || unit.mark.clip !== false) return unit;
    const seen = (channel) => `${unit.encoding[channel].field}_seen`; // a field of its own: what is shown again must be there still
    const own = ["x", "y"].filter((axis) => unit.encoding[axis]?.field && zoomed.encoding[axis]?.field);
    const axes = own.map((axis) => {
      const [value, shown] = [`datum["${unit.encoding[axis].field}"]`, `zoom["${zoomed.encoding[axis].field}"]`];
      return {
        within: `(!${shown} || inrange(${value}, ${shown}))`,
        edge: { calculate: `${shown} ? clamp(${value}, ${shown}[0], ${shown}[1]) : ${value}`, as: seen(axis) },
      };
    });
    const name = { calculate: `${axes.map(({ within }) => within).join(" && ")} ? datum["${unit.encoding.text.field}"] : ""`, as: seen("text") };
    const encoding = Object.fromEntries(
      Object.entries(unit.encoding).map(([on, of]) => [on, [...own, "text"].includes(on) ? { ...of, field: seen(on) } : of]),
    );
    return { ...unit, encoding, transform: [...(unit.transform ?? []), name, ...axes.map(({ edge }) => edge)] };
  };
  const withZoom = (spec) => {
    if ("facet" in spec || "repeat" in spec) return spec;
    const kind = parted(spec);
    const views = [];
    const axes = new Set();
    const named = (part, i) => {
      const units = part.layer ?? [part];
      const at = units.findIndex((unit) => (unit.data?.name ?? "rows") === "rows" && continuous(part, unit).length);
      if (at < 0) return part;
      continuous(part, units[at]).forEach((axis) => axes.add(axis));
      const name = units[at].name ?? `zoomed_${i}`;
      views.push(name);
      if (!part.layer) return { ...part, name };
      return { ...part, layer: part.layer.map((unit, j) => (j === at ? { ...unit, name } : inSight(unit, units[at]))) };
    };
    const parts = (kind ? spec[kind] : [spec]).map(named);
    if (!views.length) return spec;
    const param = { name: "zoom", select: { ...moves, encodings: [...axes] }, bind: "scales", views };
    return { ...(kind ? { ...spec, [kind]: parts } : parts[0]), params: [...(spec.params ?? []), param] };
  };

  // An axis can be moved by a button where it is the chart's alone: panels with axes of their own are moved one by one, by hand.

  const zoomSignals = ({ view, vgSpec }) => {
    const scales = (vgSpec.scales ?? []).filter((scale) => (scale.name === "x" || scale.name === "y") && scale.domainRaw);
    const signals = (vgSpec.signals ?? []).map((signal) => signal.name);
    const moved = scales.map((scale) => [scale.name, `zoom_${scale.domainRaw.signal.match(/"(.+)"/)?.[1]}`]);
    return moved.filter(([, signal]) => signals.includes(signal)).map(([name, signal]) => [view.scale(name), signal]);
  };
  const zoomBy = (chart, share) => {
    const { view } = views.get(chart);
    for (const [scale, signal] of zoomSignals(views.get(chart))) {
      const [from, to] = scale.range();
      const [middle, half] = [(from + to) / 2, ((to - from) / 2) * share];
      view.signal(signal, share ? [scale.invert(middle - half), scale.invert(middle + half)] : null);
    }
    return view.runAsync();
  };

  const pen = document.createElement("canvas").getContext("2d");
  pen.font = `12px ${data.theme.font}`;

  // A matrix with numbers in it keeps cells that hold them: on a phone its chart scrolls.
  const leastOf = (spec) => {
    const names = (spec.layer ?? []).map((unit) => unit.encoding?.x?.scale?.domain).find((of) => typeof of?.[0] === "string");
    return names ? 38 * names.length + 220 : 0;
  };
  const sized = (spec, width) => {
    if (!apart.some((part) => part in spec)) return spec.width ? spec : { ...spec, width: Math.max(width, leastOf(spec)), autosize: { type: "fit-x", contains: "padding" } };
    if (!spec.concat || !spec.concat.every((part) => typeof part.width === "number")) return spec;
    const columns = Math.min(width >= 700 ? 2 : 1, spec.concat.length);
    const rows = spec.datasets.rows ?? [];
    const widest = (column) => Math.max(...[...new Set(rows.map((row) => row[column] ?? ""))].map((name) => pen.measureText(name).width), 0);
    const ends = Math.min(widest("end"), 160); // names beside the ends of curves, and names of lines: as wide as the theme lets them be
    const units = spec.concat.flatMap((part) => (part.layer ?? [part]).map((unit) => unit.encoding?.y ?? part.encoding?.y));
    const named = units.filter((y) => y?.type === "nominal").map((y) => widest(y.field));
    const axis = Math.max(90 + ends, Math.min(Math.max(...named, 0), 220) + 40);
    const room = Math.max(Math.floor((width - 28 * (columns - 1)) / columns) - axis, 180);
    return { ...spec, columns, concat: spec.concat.map((part) => ({ ...part, width: room })) };
  };

  const draw = async (chart) => {
    const figure = data.figures[chart.dataset.figure];
    chart.dataset.drawn = "yes";
    delete chart.dataset.stale;
    const datasets = withoutHidden(figure.spec.datasets);
    const nothing = hidden.size > 0 && Object.entries(datasets).some(([name, rows]) => !rows.length && figure.spec.datasets[name].length);
    chart.classList.toggle("empty", nothing); // the style says so in words
    const spec = sized({ ...withZoom(themed(figure.spec)), datasets, description: figure.alt, background: "transparent" }, chart.clientWidth);
    const config = { ...themed(data.theme), ...(chart.clientWidth < 480 ? { legend: { ...themed(data.theme).legend, columns: 3 } } : {}) };
    const logLevel = hidden.size ? 1 : 2; // errors alone, where what the reader put aside leaves a panel without an extent; else warnings too
    const drawn = await vegaEmbed(chart, spec, { actions: false, renderer: "svg", ast: true, config, logLevel, tooltip: { theme: root.dataset.theme } });
    views.get(chart)?.finalize();
    views.set(chart, drawn);
    chart.closest("figure").querySelector(".zoom").hidden = !zoomSignals(drawn).length;
    chart.querySelector("svg")?.setAttribute("aria-hidden", "true"); // the text alternative stands on the chart itself
  };
  const charts = [...document.querySelectorAll(".chart")];
  const waits = (chart) => !chart.dataset.drawn || chart.dataset.stale;
  const waiting = () => charts.filter(waits);
  let wide = innerWidth;
  let resizing;
  addEventListener("resize", () => {
    clearTimeout(resizing);
    resizing = setTimeout(() => {
      if (innerWidth !== wide) redraw(); // a phone's bars change the height alone
      wide = innerWidth;
    }, 250);
  });
  const redraw = () => {
    charts.filter((chart) => chart.dataset.drawn).forEach((chart) => {
      chart.dataset.stale = "yes";
      seen.unobserve(chart); // looked at again, it is drawn at once where it is near, and else when the reader is idle
      seen.observe(chart);
    });
    setTimeout(() => idle(drawRest), 300);
  };

  const seen = new IntersectionObserver(
    (entries) => entries.filter((e) => e.isIntersecting && waits(e.target)).forEach((e) => draw(e.target)),
    { rootMargin: "400px" },
  );
  charts.forEach((chart) => seen.observe(chart));
  const idle = (work) => (window.requestIdleCallback ? requestIdleCallback(work, { timeout: 500 }) : setTimeout(work, 200));
  const drawRest = () => {
    const next = waiting()[0];
    if (next) draw(next).then(() => idle(drawRest));
  };
  addEventListener("load", () => setTimeout(() => idle(drawRest), 1000));

  // On paper everything is drawn, and dark on light; afterwards the screen is as it was.

  let onScreen;
  addEventListener("beforeprint", () => {
    onScreen = root.dataset.theme;
    root.dataset.theme = "light";
    (onScreen === "light" ? waiting() : charts).forEach(draw);
  });
  addEventListener("afterprint", () => {
    root.dataset.theme = onScreen;
    if (onScreen !== "light") redraw();
  });

  // What a link within the page leads to is opened.

  const unfold = () => {
    const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (target?.tagName === "DETAILS") target.open = true;
  };
  addEventListener("hashchange", unfold);
  unfold();
  document.querySelectorAll('a[href^="#"]').forEach((link) => link.addEventListener("click", () => setTimeout(unfold)));

  // Light and dark.

  document.getElementById("theme").addEventListener("click", () => {
    root.dataset.theme = root.dataset.theme === "dark" ? "light" : "dark";
    try { localStorage.setItem("priorscope-theme", root.dataset.theme); } catch { /* a page opened from a file may have no storage */ }
    redraw();
  });

  document.querySelectorAll("[data-zoom]").forEach((button) =>
    button.addEventListener("click", () => zoomBy(button.closest("figure").querySelector(".chart"), Number(button.dataset.zoom))),
  );

  // Models chosen, in one place for the whole page.

  const boxes = [...document.querySelectorAll(".models [data-recipe]")];
  const families = [...document.querySelectorAll(".models [data-all]")];
  const choose = () => {
    boxes.forEach((box) => (box.checked ? hidden.delete(box.value) : hidden.add(box.value)));
    families.forEach((box) => {
      const own = boxes.filter((one) => one.dataset.recipe === box.value);
      const checked = own.filter((one) => one.checked).length;
      box.checked = checked === own.length;
      box.indeterminate = checked > 0 && checked < own.length;
    });
    const count = boxes.length - hidden.size;
    document.querySelector(".models .count").textContent = hidden.size ? `${count} of ${boxes.length}` : "all";
    document.querySelectorAll("tr[data-model]").forEach((row) => (row.hidden = hidden.has(row.dataset.model)));
    redraw();
  };
  boxes.forEach((box) => box.addEventListener("change", choose));
  families.forEach((family) =>
    family.addEventListener("change", () => {
      boxes.filter((box) => box.dataset.recipe === family.value).forEach((box) => (box.checked = family.checked));
      choose();
    }),
  );
  document.querySelector(".models .all")?.addEventListener("click", () => {
    boxes.forEach((box) => (box.checked = true));
    choose();
  });
  addEventListener("keydown", (event) => {
    const open = document.querySelector(".models[open]");
    if (event.key !== "Escape" || !open) return;
    open.open = false;
    open.querySelector("summary").focus();
  });

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
