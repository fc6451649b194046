// Draws a report's lines, moves its slider, toggles schemes. Data come from #report-data and are only ever set as text
// or numbers of attributes, never as markup. No network, no storage.
"use strict";
(() => {
  const SVG = "http://www.w3.org/2000/svg";
  const charts = JSON.parse(document.getElementById("report-data").textContent).charts;
  const calm = window.matchMedia("(prefers-reduced-motion: reduce)").matches;
  const tip = document.getElementById("tip");

  const node = (space, tag, attributes, text) => {
    const made = space ? document.createElementNS(space, tag) : document.createElement(tag);
    for (const [name, value] of Object.entries(attributes || {})) made.setAttribute(name, String(value));
    if (text !== undefined) made.textContent = text;
    return made;
  };
  const svg = (tag, attributes, text) => node(SVG, tag, attributes, text);
  const html = (tag, attributes, text) => node(null, tag, attributes, text);

  // --- what is under the pointer -------------------------------------------------------------------------

  const showTip = (lines, x, y) => {
    tip.replaceChildren(...lines.map((line) => html("div", {}, line)));
    tip.hidden = false;
    const { width, height } = tip.getBoundingClientRect();
    tip.style.left = `${Math.max(4, Math.min(x + 14, window.innerWidth - width - 8))}px`;
    tip.style.top = `${y + 16 + height > window.innerHeight ? Math.max(4, y - height - 12) : y + 16}px`;
  };
  const hideTip = () => { tip.hidden = true; };
  document.addEventListener("pointerover", (event) => {
    const found = event.target instanceof Element && event.target.closest("[data-tip]");
    if (found) showTip([found.dataset.tip], event.clientX, event.clientY);
  });
  document.addEventListener("pointerout", (event) => {
    if (event.target instanceof Element && event.target.closest("[data-tip]")) hideTip();
  });
  document.addEventListener("keydown", (event) => { if (event.key === "Escape") hideTip(); });

  // --- numbers ---------------------------------------------------------------------------------------------

  const short = (value) => {
    if (value === 0) return "0";
    const size = Math.abs(value);
    return size >= 1e4 ? value.toFixed(0) : String(Number(value.toPrecision(size < 1 ? 3 : 4)));
  };
  const niceStep = (span, wanted) => {
    const raw = span / Math.max(wanted, 1), power = 10 ** Math.floor(Math.log10(raw));
    return power * ([1, 2, 2.5, 5, 10].find((step) => step * power >= raw * 0.999) || 10);
  };
  const linearTicks = (low, high, wanted) => {
    const step = niceStep(high - low || 1, wanted), ticks = [];
    // counted from the first: far from zero, or zoomed in very far, one more would be the same number for ever
    const first = Math.ceil(low / step - 1e-9);
    for (let i = 0; i < 200 && (first + i) * step <= high + step * 1e-9; i += 1) ticks.push({ at: (first + i) * step, text: short((first + i) * step) });
    return ticks;
  };
  const logTicks = (low, high, wanted) => {
    const all = [];
    for (let power = Math.floor(Math.log10(low)); 10 ** power <= high; power += 1)
      for (const digit of [1, 2, 5]) all.push(digit * 10 ** power);
    const inside = all.filter((at) => at >= low * 0.999 && at <= high * 1.001);
    const tens = inside.filter((at) => Math.abs(Math.log10(at) - Math.round(Math.log10(at))) < 1e-9);
    const chosen = inside.length <= wanted || tens.length < 2 ? inside : tens;
    return chosen.map((at) => ({ at, text: short(at) }));
  };
  // The last index whose x is at most the wanted one, -1 before the first.
  const before = (xs, x) => {
    let low = 0, high = xs.length;
    while (low < high) { const middle = (low + high) >> 1; if (xs[middle] <= x) low = middle + 1; else high = middle; }
    return low - 1;
  };

  // --- lines -----------------------------------------------------------------------------------------------

  const LEFT = 52, RIGHT = 14, TOP = 12, BOTTOM = 26, PLOT = 190;
  // Of a text at the axis: the width of a character, the height of a line, the least angle it is turned by, and how many
  // characters are shown (all of them are in tips and tables).
  const CHARACTER = 6.8, LINE = 13, LEAST_TURN = 35 * Math.PI / 180, LONGEST = 40;

  class Lines {
    constructor(host, spec, hidden) {
      Object.assign(this, { host, spec, hidden, range: null, cursor: null, dragged: null });
      host.tabIndex = 0;
      host.setAttribute("role", "group");
      host.setAttribute("aria-roledescription", "interactive chart");
      host.addEventListener("keydown", (event) => this.key(event));
      host.addEventListener("blur", () => { this.cursor = null; this.moveCursor(); hideTip(); });
      this.tools();
      new ResizeObserver(() => { if (host.clientWidth !== this.width) this.draw(); }).observe(host);
      this.draw();
    }

    tools() {
      const bar = html("div", { class: "tools" });
      const button = (text, label, act) => {
        const made = html("button", { type: "button", "aria-label": label, title: label }, text);
        made.addEventListener("click", act);
        bar.append(made);
        return made;
      };
      button("+", "zoom in", () => this.zoom(0.5));
      button("\u2212", "zoom out", () => this.zoom(2));
      this.whole = button("whole", "show the whole range", () => this.setRange(null));
      bar.append(html("span", { class: "hint" }, "drag to zoom; arrow keys read values"));
      this.host.before(bar);
    }

    shown() {
      const keep = (series) => !this.hidden.has(series.scheme);
      return this.spec.panels.map((panel) => ({ ...panel, series: panel.series.filter(keep) })).filter((panel) => panel.series.length);
    }

    extent() {
      if (this.spec.x_range) return this.spec.x_range;
      const xs = this.spec.panels.flatMap((panel) => panel.series.flatMap((series) => series.x)).filter((x) => !this.spec.x_log || x > 0);
      return xs.length ? [Math.min(...xs), Math.max(...xs)] : [0.1, 1];
    }

    place(x) {
      const [low, high] = this.now, log = this.spec.x_log, f = log ? (v) => Math.log(Math.max(v, Number.MIN_VALUE)) : (v) => v;
      return (f(x) - f(low)) / (f(high) - f(low) || 1) * this.plotWidth;
    }

    value(pixels) {
      const [low, high] = this.now, share = pixels / this.plotWidth;
      return this.spec.x_log ? low * (high / low) ** share : low + (high - low) * share;
    }

    setRange(range) {
      const [low, high] = this.extent();
      this.range = range && [Math.max(low, range[0]), Math.min(high, range[1])];
      if (this.range && !(this.range[1] > this.range[0])) this.range = null;
      this.draw();
    }

    zoom(factor) {
      const around = this.cursor === null ? this.plotWidth / 2 : this.place(this.cursor);
      this.setRange([this.value(around - this.plotWidth / 2 * factor), this.value(around + this.plotWidth / 2 * factor)]);
    }

    draw() {
      this.width = this.host.clientWidth || 300;
      this.plotWidth = Math.max(this.width - LEFT - RIGHT, 40);
      this.now = this.range || this.extent();
      this.whole.disabled = this.range === null;
      this.panels = this.shown();
      const all = this.panels.flatMap((panel) => panel.series.flatMap((series) => series.x));
      this.stops = [...new Set(all)].filter((x) => x >= this.now[0] && x <= this.now[1]).sort((a, b) => a - b);
      this.cursors = [];
      this.host.replaceChildren(...this.panels.map((panel, index) => this.panel(panel, index === this.panels.length - 1)), this.legend());
      if (!this.panels.length) this.host.append(html("p", {}, "Every scheme is switched off."));
      this.moveCursor();
    }

    xTicks() {
      const wanted = Math.floor(this.plotWidth / 62), cut = (text) => text.length > LONGEST ? `${text.slice(0, LONGEST - 1)}\u2026` : text;
      const ticks = this.spec.ticks.length ? this.spec.ticks.map((tick) => ({ at: tick.at, text: cut(tick.text) }))
        : this.spec.x_log ? logTicks(...this.now, wanted) : linearTicks(...this.now, wanted);
      const placed = ticks.map((tick) => ({ x: this.place(tick.at), text: tick.text, width: tick.text.length * CHARACTER }));
      return placed.filter((tick) => tick.x >= -1 && tick.x <= this.plotWidth + 1).sort((a, b) => a.x - b.x);
    }

    // The angle at which all values of a sweep can be read: 0 where they fit side by side, else so steep that none
    // begins left of the drawing and no two touch.
    turn(ticks) {
      if (!this.spec.ticks.length) return 0;
      const pairs = ticks.slice(1).map((tick, i) => [ticks[i], tick]);
      if (pairs.every(([left, right]) => right.x - left.x > (left.width + right.width) / 2 + 6)) return 0;
      const room = ticks.map((tick) => Math.acos(Math.min(1, (LEFT + tick.x - LINE) / tick.width)));
      const apart = pairs.map(([left, right]) => Math.asin(Math.min(1, LINE / (right.x - left.x))));
      return Math.max(LEAST_TURN, ...room, ...apart);
    }

    panel(panel, last) {
      const ticks = this.xTicks(), angle = this.turn(ticks), turned = last && angle > 0;
      const deep = turned ? Math.ceil(Math.max(...ticks.map((tick) => tick.width)) * Math.sin(angle)) : 0;
      // values that have to be turned stand below the lowest panel only
      const bottom = last ? BOTTOM + 18 + deep : angle > 0 ? BOTTOM - 14 : BOTTOM, title = panel.title ? 16 : 0;
      const head = TOP + 16 + title + (this.spec.marks.length ? 14 : 0), height = head + PLOT + bottom;
      const [low, high] = this.yRange(panel);
      const y = (value) => PLOT * (1 - (value - low) / (high - low));
      const root = svg("svg", { width: this.width, height, viewBox: `0 0 ${this.width} ${height}`, role: "img", "aria-label": `${panel.y_label} over ${this.spec.x_label}. ${panel.title}` });
      root.append(svg("text", { x: 4, y: 14, class: "axis-title" }, panel.y_label));
      if (panel.title) root.append(svg("text", { x: LEFT, y: 14 + 16, class: "panel-title" }, panel.title));
      const plot = svg("svg", { x: LEFT, y: head, width: this.plotWidth, height: PLOT, class: "plot" });
      const axes = svg("g", { transform: `translate(${LEFT} ${head})` });
      for (const tick of linearTicks(low, high, 5)) {
        axes.append(svg("line", { x1: 0, x2: this.plotWidth, y1: y(tick.at), y2: y(tick.at), class: "grid-line" }));
        axes.append(svg("text", { x: -6, y: y(tick.at) + 4, "text-anchor": "end", class: "tick" }, tick.text));
      }
      let free = -Infinity;
      for (const { x, text, width } of ticks) {
        axes.append(svg("line", { x1: x, x2: x, y1: PLOT, y2: PLOT + 4, class: "axis" }));
        if (turned) axes.append(svg("text", { transform: `translate(${x + 4} ${PLOT + 14}) rotate(${-angle * 180 / Math.PI})`, "text-anchor": "end", class: "tick value" }, text));
        else if (angle === 0 && x - width / 2 > free) {
          axes.append(svg("text", { x, y: PLOT + 17, "text-anchor": "middle", class: "tick value" }, text));
          free = x + width / 2 + 6;
        }
      }
      if (last) axes.append(svg("text", { x: this.plotWidth / 2, y: PLOT + bottom - 6, "text-anchor": "middle", class: "axis-title" }, this.spec.x_label));
      axes.append(svg("line", { x1: 0, x2: this.plotWidth, y1: PLOT, y2: PLOT, class: "axis" }));
      this.rules(panel, plot, axes, y);
      this.marks(axes, plot);
      const shift = (i) => (i - (panel.series.length - 1) / 2) * 7;
      panel.series.forEach((series, i) => this.series(series, plot, y, shift(i)));
      const cursor = svg("line", { y1: 0, y2: PLOT, class: "cursor", visibility: "hidden" });
      const chosen = svg("rect", { y: 0, height: PLOT, class: "chosen", visibility: "hidden" });
      const cover = svg("rect", { width: this.plotWidth, height: PLOT, class: "cover" });
      plot.append(chosen, cursor, cover);
      panel.series.forEach((series, i) => this.points(series, plot, y, shift(i)));
      this.cursors.push(cursor);
      this.pointer(cover, chosen, plot);
      root.append(axes, plot);
      return root;
    }

    yRange(panel) {
      let low = Infinity, high = -Infinity;
      const take = (value) => { if (value !== null && value !== undefined) { low = Math.min(low, value); high = Math.max(high, value); } };
      for (const series of panel.series) {
        series.x.forEach((x, i) => { if (x >= this.now[0] && x <= this.now[1]) for (const one of [series.y, series.low, series.high, series.modelled]) take(one[i]); });
        series.points.forEach((point) => take(point.y));
      }
      panel.rules.forEach((rule) => take(rule.y));
      if (!Number.isFinite(high)) [low, high] = [0, 1];
      if (panel.y_min !== null) low = panel.y_min;
      return [low, high > low ? high + (high - low) * 0.06 : low + 1];
    }

    // A label stands above its line where that is at the top, since what is drawn is below it; it may leave the plot.
    rules(panel, plot, axes, y) {
      for (const rule of panel.rules) {
        plot.append(svg("line", { x1: 0, x2: this.plotWidth, y1: y(rule.y), y2: y(rule.y), class: "limit" }));
        const at = y(rule.y) < 16 || y(rule.y) > PLOT - 16 ? y(rule.y) - 4 : y(rule.y) + 13;  // not among the ticks
        if (rule.label) axes.append(svg("text", { x: this.plotWidth - 4, y: at, "text-anchor": "end", class: "limit-text" }, rule.label));
      }
    }

    marks(axes, plot) {
      for (const mark of this.spec.marks) {
        const x = this.place(mark.at);
        if (x < 0 || x > this.plotWidth) continue;
        plot.append(svg("line", { x1: x, x2: x, y1: 0, y2: PLOT, class: mark.mends ? "mark mends" : "mark" }));
        axes.append(svg("text", { x, y: -5, "text-anchor": x > this.plotWidth * 0.8 ? "end" : "middle", class: "tick" }, mark.text));
      }
    }

    series(series, plot, y, shift) {
      const group = svg("g", { "data-scheme": series.scheme, class: "series" });
      const xs = series.x.map((x) => this.place(x));
      if (series.low.length && !series.connect) {
        const reach = xs.flatMap((x, i) => series.low[i] === null ? [] : [`M${(x + shift).toFixed(1)} ${y(series.low[i]).toFixed(1)}V${y(series.high[i]).toFixed(1)}`]);
        group.append(svg("path", { d: reach.join(""), class: "reach" }));
      } else if (series.low.length) {
        for (const [from, to] of this.pieces(series.low)) {
          const there = [], back = [];
          for (let i = from; i < to; i += 1) { there.push(`${xs[i].toFixed(1)} ${y(series.high[i]).toFixed(1)}`); back.unshift(`${xs[i].toFixed(1)} ${y(series.low[i]).toFixed(1)}`); }
          group.append(svg("path", { d: `M${there.concat(back).join("L")}Z`, class: "band" }));
        }
      }
      const path = [];
      for (const [from, to] of this.pieces(series.y)) {
        for (let i = from; i < to; i += 1) {
          const at = `${xs[i].toFixed(1)} ${y(series.y[i]).toFixed(1)}`;
          if (!series.connect) path.push(`M${(xs[i] - 8).toFixed(1)} ${y(series.y[i]).toFixed(1)}h16`);
          else if (i === from) path.push(series.step ? `M${xs[i].toFixed(1)} ${y(0).toFixed(1)}V${y(series.y[i]).toFixed(1)}` : `M${at}`);
          else path.push(series.step ? `H${xs[i].toFixed(1)}V${y(series.y[i]).toFixed(1)}` : `L${at}`);
        }
        if (to - from === 1 && series.connect && !series.step) path.push("h0.1");
      }
      const line = svg("path", { d: path.join(""), class: "line" });
      if (series.dash) line.setAttribute("stroke-dasharray", series.dash);
      else line.classList.add("own-dash");
      group.append(line);
      if (series.modelled.length) group.append(this.modelled(series, xs, y, shift));
      plot.append(group);
    }

    // What the fluid model has: a mark below each value, as in bars, and a thin line, which no scheme's dashes are.
    modelled(series, xs, y, shift) {
      const group = svg("g", {}), thread = [], marks = [];
      for (const [from, to] of this.pieces(series.modelled)) {
        for (let i = from; i < to; i += 1) {
          const x = xs[i] + shift, top = y(series.modelled[i]);
          thread.push(`${i === from ? "M" : "L"}${x.toFixed(1)} ${top.toFixed(1)}`);
          marks.push(`M${x.toFixed(1)} ${top.toFixed(1)}l4.5 8h-9z`);
        }
      }
      if (series.connect) group.append(svg("path", { d: thread.join(""), class: "thread" }));
      group.append(svg("path", { d: marks.join(""), class: "model" }));
      return group;
    }

    // Side by side by scheme, so that none hides another.
    points(series, plot, y, shift) {
      const group = svg("g", { "data-scheme": series.scheme, class: "series" });
      for (const point of series.points) {
        const x = this.place(point.x) + shift, kind = `run ${point.verdict.toLowerCase()}`;
        if (point.verdict === "INVALID") group.append(svg("path", { d: `M${x - 4} ${y(point.y) - 4}l8 8m0 -8l-8 8`, class: kind, "data-tip": point.label }));
        else group.append(svg("circle", { cx: x, cy: y(point.y), r: 4, class: kind, "data-tip": point.label }));
      }
      plot.append(group);
    }

    // Stretches without a gap, as [from, to).
    pieces(values) {
      const found = [];
      let from = null;
      values.forEach((value, i) => {
        if (value !== null && from === null) from = i;
        if (value === null && from !== null) { found.push([from, i]); from = null; }
      });
      if (from !== null) found.push([from, values.length]);
      return found;
    }

    legend() {
      const list = html("ul", { class: "legend" }), seen = new Set();
      for (const series of this.panels.flatMap((panel) => panel.series)) {
        // Where each panel is a scheme's, a line's dash says what it is, whatever its colour.
        const plain = this.spec.panels.every((panel) => panel.title);
        const key = `${series.name}\n${series.dash}\n${plain ? "" : series.scheme}`;
        if (seen.has(key)) continue;
        seen.add(key);
        const item = html("li", plain ? { class: "plain" } : { "data-scheme": series.scheme });
        const sample = svg("svg", { width: 30, height: 10, "aria-hidden": "true" });
        const line = svg("line", { x1: 1, x2: 29, y1: 5, y2: 5, class: series.dash ? "line" : "line own-dash" });
        if (series.dash) line.setAttribute("stroke-dasharray", series.dash);
        sample.append(line);
        item.append(sample, document.createTextNode(series.name));
        list.append(item);
      }
      if (this.spec.model_name) {
        const item = html("li", { class: "plain" }), sample = svg("svg", { width: 30, height: 10, "aria-hidden": "true" });
        sample.append(svg("line", { x1: 1, x2: 29, y1: 2, y2: 2, class: "thread" }), svg("path", { d: "M15 1.5l4.5 7.5h-9z", class: "model" }));
        item.append(sample, document.createTextNode(this.spec.model_name));
        list.append(item);
      }
      return list;
    }

    pointer(cover, chosen, plot) {
      const at = (event) => Math.max(0, Math.min(this.plotWidth, event.clientX - plot.getBoundingClientRect().left));
      cover.addEventListener("pointerdown", (event) => { this.dragged = at(event); cover.setPointerCapture(event.pointerId); });
      cover.addEventListener("pointermove", (event) => {
        const x = at(event);
        if (this.dragged !== null && Math.abs(x - this.dragged) > 4) {
          chosen.setAttribute("x", Math.min(x, this.dragged));
          chosen.setAttribute("width", Math.abs(x - this.dragged));
          chosen.setAttribute("visibility", "visible");
        }
        this.read(this.nearest(this.value(x)), event.clientX, event.clientY);
      });
      cover.addEventListener("pointerup", (event) => {
        const from = this.dragged, to = at(event);
        this.dragged = null;
        chosen.setAttribute("visibility", "hidden");
        if (from !== null && Math.abs(to - from) > 8) this.setRange([this.value(Math.min(from, to)), this.value(Math.max(from, to))]);
      });
      cover.addEventListener("pointerleave", () => { if (this.dragged === null) { this.cursor = null; this.moveCursor(); hideTip(); } });
      cover.addEventListener("dblclick", () => this.setRange(null));
    }

    nearest(x) {
      const i = before(this.stops, x), left = this.stops[i], right = this.stops[i + 1];
      if (left === undefined) return right === undefined ? null : right;
      return right === undefined || x - left < right - x ? left : right;
    }

    read(x, clientX, clientY) {
      this.cursor = x;
      this.moveCursor();
      if (x === null) return;
      const lines = [`${this.spec.x_label}: ${this.tickText(x)}`];
      if (this.panels.every((panel) => panel.y_label === this.panels[0].y_label)) lines.push(this.panels[0].y_label);
      for (const panel of this.panels) for (const series of panel.series) {
        const i = before(series.x, x * (1 + 1e-12) + 1e-12);
        if (i < 0 || series.y[i] === null || (i === series.x.length - 1 && x > series.x[i] && !series.step)) continue;
        const band = series.low.length ? ` (${short(series.low[i])} to ${short(series.high[i])})` : "";
        const of = panel.title ? `${panel.title}, ` : this.panels.length > 1 ? `${panel.y_label}, ` : "";
        const known = series.modelled.length > 0 && series.modelled[i] !== null;
        const model = known ? `; ${this.spec.model_name}: ${short(series.modelled[i])}` : "";
        lines.push(`${of}${series.name}: ${short(series.y[i])}${band}${model}`);
      }
      showTip(lines, clientX, clientY);
    }

    tickText(x) {
      const tick = this.spec.ticks.find((one) => one.at === x);
      return tick ? tick.text : short(x);
    }

    moveCursor() {
      for (const line of this.cursors || []) {
        if (this.cursor === null) { line.setAttribute("visibility", "hidden"); continue; }
        const x = this.place(this.cursor);
        line.setAttribute("x1", x);
        line.setAttribute("x2", x);
        line.setAttribute("visibility", "visible");
      }
    }

    key(event) {
      const steps = { ArrowLeft: -1, ArrowRight: 1, PageDown: -10, PageUp: 10, Home: -Infinity, End: Infinity };
      if (event.key in steps && this.stops.length) {
        const here = this.cursor === null ? (steps[event.key] > 0 ? -1 : this.stops.length) : before(this.stops, this.cursor);
        const index = Math.max(0, Math.min(this.stops.length - 1, here + steps[event.key]));
        const box = this.host.getBoundingClientRect();
        this.read(this.stops[index], box.left + LEFT + this.place(this.stops[index]), Math.max(box.top, 0) + 60);
      } else if (event.key === "+" || event.key === "=") this.zoom(0.5);
      else if (event.key === "-") this.zoom(2);
      else if (event.key === "0") this.setRange(null);
      else if (event.key === "Escape") { this.cursor = null; this.moveCursor(); hideTip(); }
      else return;
      event.preventDefault();
    }
  }

  // --- the fabric over time ----------------------------------------------------------------------------------

  class Fabric {
    constructor(host, spec) {
      Object.assign(this, { host, spec, timer: null });
      this.longest = Math.max(...spec.loads.map((load) => load.lasted_s));
      this.moments = Math.max(...spec.loads.map((load) => load.times_s.length));
      this.runs = spec.loads.map((load, i) => {
        const root = host.querySelector(`[data-load="${i}"]`);
        return { load, wires: [...root.querySelectorAll(".wire")], said: root.querySelector("output") };
      });
      this.controls();
      this.show(0);
    }

    controls() {
      const row = html("div", { class: "slider" });
      const id = `time-${charts.indexOf(this.spec)}`;
      this.range = html("input", { type: "range", id, min: 0, max: this.moments, step: 1, value: 0 });
      this.said = html("output", { for: id });
      row.append(html("label", { for: id }, "Moment"), this.range, this.said);
      if (!calm) {
        this.play = html("button", { type: "button" }, "Play");
        this.play.addEventListener("click", () => (this.timer === null ? this.start() : this.stop()));
        row.append(this.play);
      }
      this.range.addEventListener("input", () => { this.stop(); this.show(Number(this.range.value)); });
      this.host.prepend(row);
    }

    start() {
      if (Number(this.range.value) >= this.moments) this.range.value = 0;
      this.play.textContent = "Stop";
      this.timer = window.setInterval(() => {
        const next = Number(this.range.value) + 1;
        this.range.value = next;
        this.show(next);
        if (next >= this.moments) this.stop();
      }, Math.max(60, 12000 / this.moments));
    }

    stop() {
      if (this.timer === null) return;
      window.clearInterval(this.timer);
      this.timer = null;
      this.play.textContent = "Play";
    }

    show(moment) {
      const t = moment * this.longest / this.moments, whole = moment === 0;
      const text = whole ? "mean over the measured part" : `${t.toFixed(2)} s after the start`;
      this.said.textContent = text;
      this.range.setAttribute("aria-valuetext", text);
      for (const run of this.runs) {
        const over = !whole && t > run.load.lasted_s + 1e-9;
        const at = Math.min(before(run.load.times_s, t - 1e-9) + 1, run.load.times_s.length - 1);
        const now = run.wires.map((_wire, i) => (whole ? run.load.means[i] : over ? -1 : run.load.percents[i][at]));
        run.wires.forEach((wire, i) => {
          wire.setAttribute("class", `wire ${now[i] < 0 ? "none" : `u${Math.min(Math.round(now[i] / 10), 10)}`}`);
          wire.setAttribute("data-tip", `${this.spec.wires[i]}: ${now[i] < 0 ? "not known" : `${now[i]}%`}${whole ? ", mean" : `, ${text}`}`);
        });
        const known = now.filter((value, i) => value >= 0 && this.spec.tiers[i] === "uplink");
        run.said.textContent = over ? "finished" : known.length ? `uplinks ${Math.min(...known)}% to ${Math.max(...known)}%` : "";
      }
    }
  }

  // --- the page ------------------------------------------------------------------------------------------------

  for (const section of document.querySelectorAll("section.question")) {
    const hidden = new Set(), drawn = [];
    for (const host of section.querySelectorAll("[data-chart]")) {
      const spec = charts[Number(host.dataset.chart)];
      if (spec.kind === "lines") drawn.push(new Lines(host, spec, hidden));
      else new Fabric(host, spec);
    }
    const boxes = section.querySelector("fieldset.schemes");
    if (boxes) {
      boxes.hidden = false;
      boxes.addEventListener("change", (event) => {
        const { value, checked } = event.target;
        if (checked) hidden.delete(value); else hidden.add(value);
        for (const part of section.querySelectorAll(".scheme[data-scheme]")) part.classList.toggle("off", hidden.has(part.dataset.scheme));
        drawn.forEach((chart) => chart.draw());
      });
    }
  }

  for (const block of document.querySelectorAll("pre.copy")) {
    const button = html("button", { type: "button", class: "copy" }, "Copy");
    button.addEventListener("click", async () => {
      const text = block.textContent;
      try {
        await navigator.clipboard.writeText(text);
        button.textContent = "Copied";
      } catch {
        window.getSelection().selectAllChildren(block);
        button.textContent = "Selected: press Ctrl+C";
      }
      window.setTimeout(() => { button.textContent = "Copy"; }, 2500);
    });
    block.before(button);
  }

  const theme = document.getElementById("theme");
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => (document.documentElement.dataset.theme || (dark.matches ? "dark" : "light")) === "dark";
  const name = () => { theme.textContent = isDark() ? "Light page" : "Dark page"; };
  theme.hidden = false;
  theme.addEventListener("click", () => { document.documentElement.dataset.theme = isDark() ? "light" : "dark"; name(); });
  dark.addEventListener("change", name);
  name();
  document.documentElement.classList.add("scripted");
})();
