// Shows what the reader chooses of the page's own data. Every word and figure comes with the data; here they are placed.
"use strict";
(() => {
  const source = document.getElementById("views"), place = document.getElementById("choice");
  const { axes, views } = JSON.parse(source.textContent);
  const add = (parent, tag, text = "", kind = "", more = {}) => {
    const made = parent.appendChild(document.createElement(tag));
    Object.entries({ class: kind, ...more }).forEach(([name, value]) => value && made.setAttribute(name, value));
    made.textContent = text;
    return made;
  };
  const picks = add(place, "div", "", "picks");
  const pick = [...axes, ["counts as 100 %", []]].map(([name]) => add(add(picks, "label", name), "select"));
  const base = pick.at(-1), says = add(place, "p", "", "finding", { "aria-live": "polite" });
  const figure = add(place, "figure", "", "table"), caption = add(figure, "figcaption"), copied = add(place, "p");
  const region = { role: "region", tabindex: "0", "aria-label": "the machines, compared" };
  const table = add(add(figure, "div", "", "scroll", region), "table");
  const button = add(copied, "button", "copy the command"), command = add(copied, "code");
  const fill = (select, values) => select.replaceChildren(...values.map((value) => new Option(value, value)));
  axes.forEach(([, values], i) => fill(pick[i], values));
  let view = views[0], column = 1, down = true;

  // The view that agrees with the choice on this axis, and else with as many of the others as may be, the first first.
  const nearest = (wanted, axis) => views.reduce((best, other) => {
    const score = (v) => wanted.reduce((sum, value, i) => sum + (v.at[i] === value) * 2 ** (8 - i + 9 * (i === axis)), 0);
    return score(other) > score(best) ? other : best;
  });

  const sorted = (rows) => {
    const best = (i) => (view.rows[i][1] === null ? null : -i);  // they come so, the best first
    const value = { 0: (i) => view.rows[i][0], 1: best, 3: (i) => parseInt(view.rows[i][3]) || null }[column];
    return rows.sort((a, b) => {
      const [x, y] = [value(a), value(b)];
      if (x === y || x === null || y === null) return (x === null) - (y === null);
      return (x < y ? -1 : 1) * (down ? -1 : 1);
    });
  };

  // A point and its interval on a log axis that spans those of all rows.
  const mark = (cell, pair, ends) => {
    const at = (x) => `${(100 * Math.log(x / ends[0])) / Math.log(ends[1] / ends[0])}%`;
    const line = add(cell, "span", "", "mark", { "aria-hidden": "true" });
    const reach = `left: ${at(pair[2])}; right: calc(100% - ${at(pair[3])})`;
    if (pair[2] !== null) add(line, "i", "", "", { style: reach });
    add(line, "b").style.left = at(pair[1]);
    add(line, "u").style.left = at(1);
  };

  const draw = () => {
    const names = view.rows.map((row) => row[0]), own = Math.max(0, names.indexOf(base.value));
    const pairs = view.pairs[own] || view.pairs[0] || [], first = view.pairs[own] ? own : 0;
    const ends = pairs.filter(Boolean).flatMap((pair) => [pair[2] ?? pair[1], pair[3] ?? pair[1]]).concat(1);
    const span = [Math.min(...ends) / 1.1, Math.max(...ends) * 1.1];
    says.textContent = view.says;
    caption.textContent = `95 % intervals; of ${names[first]}: more is better, on a log axis; ${view.holm} at once (Holm).`;
    table.replaceChildren();
    const head = add(add(table, "thead"), "tr"), body = add(table, "tbody");
    const special = view.rows.some((row) => row[4]);
    ["machine", view.heading, `of ${names[first]}`, "runs", ...(special ? ["its own"] : [])].forEach((title, i) => {
      const sinks = down === (i !== 1 || view.more); // of milliseconds less is better
      const order = { scope: "col", "aria-sort": i === column && (sinks ? "descending" : "ascending") };
      const cell = add(head, "th", i === 2 || i === 4 ? title : "", i === 1 ? "n" : "t", order);
      if (i === 2 || i === 4) return;
      add(cell, "button", title + (i === column ? (sinks ? " ↓" : " ↑") : "")).onclick = () => {
        [column, down] = [i, i === column ? !down : i > 0];
        draw();
        table.querySelectorAll("th button")[[0, 1, , 2][i]].focus();
      };
    });
    const order = sorted([...view.rows.keys()]), addRows = (some) => some.forEach((i) => {
      const row = view.rows[i], line = add(body, "tr"), pair = pairs[i];
      add(line, "th", row[0]).scope = "row";
      add(line, "td", row[2], "n");
      const cell = add(line, "td", i === first ? "100 %" : pair ? pair[0] : "");
      if (pair || i === first) mark(cell, pair || ["", 1, null, null], span);
      add(line, "td", row[3]);
      if (special) add(line, "td", row[4]);
    });
    addRows(order.slice(0, 60)); // what fits on a screen is there at once, the rest a frame later
    requestAnimationFrame(() => setTimeout(() => body.isConnected && addRows(order.slice(60))));
    command.textContent = view.command;
    button.textContent = "copy the command";
  };

  const show = (next, name, write = true) => {
    view = next;
    view.at.forEach((value, i) => (pick[i].value = value));
    fill(base, view.rows.filter((row, i) => view.pairs[i] || view.rows.length === 1).map((row) => row[0]));
    if ([...base.options].some((option) => option.value === name)) base.value = name;
    draw();
    const told = new URLSearchParams(axes.map(([axis], i) => [axis, view.at[i]]).concat([["100 %", base.value]]));
    if (write) history.replaceState(null, "", `#${told}`);
  };

  const read = () => {
    const told = new URLSearchParams(location.hash.slice(1)), wanted = axes.map(([axis]) => told.get(axis));
    const named = wanted.some((value) => value !== null);
    if (named || !table.children.length) show(named ? nearest(wanted, 0) : views[0], told.get("100 %"), false);
    if (named) place.scrollIntoView();
  };
  pick.slice(0, -1).forEach((select, axis) => {
    select.onchange = () => show(nearest(pick.slice(0, -1).map((one) => one.value), axis), base.value);
  });
  base.onchange = () => show(view, base.value);
  button.onclick = () => navigator.clipboard.writeText(view.command).then(() => (button.textContent = "copied"));
  window.onhashchange = read;
  place.hidden = !(document.getElementById("standing").hidden = true);
  read();
})();
