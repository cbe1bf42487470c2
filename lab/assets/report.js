"use strict";

const sections = JSON.parse(document.getElementById("data").textContent);
const LIMITS = ["optimum", "upper bound"];
const TEXTBOOK = "textbook LRU";
const DEFAULT = "adaptive";
const COLOURS = ["#4269d0", "#e0900f", "#ef5a48", "#3fa796", "#3ca951", "#e25c96", "#a463f2", "#9c6b4e"];
const HEIGHT = 420;

/* Small helpers. */

const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const whole = new Intl.NumberFormat("en");
const short = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });
const fixed = (digits) => (number) => (number == null ? "" : number.toFixed(digits));

function bytes(number) {
    const units = ["B", "KiB", "MiB", "GiB", "TiB"];
    const power = number > 0 ? Math.min(Math.floor(Math.log2(number) / 10), 4) : 0;
    const scaled = number / 2 ** (10 * power);
    return `${scaled >= 100 || Number.isInteger(scaled) ? scaled.toFixed(0) : scaled.toFixed(1)} ${units[power]}`;
}

function element(tag, attributes = {}, ...children) {
    const made = Object.assign(document.createElement(tag), attributes);
    made.append(...children);
    return made;
}

/* Plots. */

const plots = [];

/** Adds a plot that is drawn anew when the width or the colours change. */
function plot(parent, title, caption, options) {
    const place = element("div", { className: "plot" });
    parent.append(element("figure", {}, element("h3", { textContent: title }),
        element("p", { className: "caption", textContent: caption }), place));
    plots.push({ place, options, drawn: null, width: 0 });
}

function draw(plot) {
    plot.drawn?.destroy();
    plot.width = plot.place.clientWidth;
    plot.drawn = new uPlot(chart(plot.options, plot.width), plot.options.data, plot.place);
}

const axis = (label, values, log, size) => ({
    label,
    labelSize: 24,
    labelGap: 4,
    size,
    space: log ? 30 : 45,
    stroke: () => style("--ink"),
    font: "13px system-ui, sans-serif",
    labelFont: "13px system-ui, sans-serif",
    grid: { stroke: () => style("--line"), width: 1 },
    ticks: { stroke: () => style("--line"), width: 1 },
    values: (_, splits) => splits.map((split) => (split == null ? "" : values(split))),
    ...(log && {
        splits: (self, _, low, high) => {
            const room = self.bbox.width / devicePixelRatio;
            const splits = values === bytes ? binarySplits(low, high, room) : decimalSplits(low, high, room);
            return splits.length > 1 ? splits : withEnds(low, splits, high);
        },
        filter: (_, all) => all,
    }),
});

/** With the ends of the axis: of fewer than two numbers no scale can be read. Each once. */
function withEnds(low, splits, high) {
    return [...new Set([Math.ceil(low), ...splits, Math.floor(high)])];
}

/** Powers of two, as far apart as they must be. */
function binarySplits(low, high, room) {
    const step = Math.max(1, Math.ceil((Math.log2(high / low) * 70) / room));
    const splits = [];
    for (let power = Math.ceil(Math.log2(low) / step) * step; power <= Math.log2(high); power += step) {
        splits.push(2 ** power);
    }
    return splits;
}

/** 1, 2 and 5 times the powers of ten, or the powers alone if there are many. */
function decimalSplits(low, high, room) {
    const steps = Math.log10(high / low) > room / 170 ? [1] : [1, 2, 5];
    const splits = [];
    for (let power = Math.floor(Math.log10(low)); power <= Math.log10(high); power++) {
        splits.push(...steps.map((step) => step * 10 ** power));
    }
    return splits.filter((split) => split >= low && split <= high);
}

function chart(options, width) {
    const { x, y, lines } = options;
    return {
        width,
        height: Math.min(HEIGHT, Math.max(260, width * 0.55)),
        scales: {
            x: { time: false, distr: x.log ? 3 : 1, ...(x.log && { range: (_, low, high) => [low, high] }) },
            y: {
                distr: y.log ? 3 : 1,
                range: y.log ? (_, low, high) => [Math.max(low, 1) * 0.9, high * 1.15] : y.range,
            },
        },
        axes: [axis(x.label, x.values, x.log, 40), axis(y.label, y.values, y.log, 56)],
        series: [
            { label: x.label },
            ...lines.map((line) => ({
                label: line.label,
                stroke: () => line.colour ?? style("--ink"),
                width: line.width ?? 2,
                dash: line.dash,
                fill: line.fill ? () => `${line.colour}33` : undefined,
                points: { show: options.points ?? false, size: 5, fill: () => line.colour ?? style("--ink") },
                value: (_, value) => (value == null ? "–" : y.exact(value)),
            })),
        ],
        cursor: { drag: { x: true, y: false }, points: { size: 7 } },
        legend: {
            show: lines.length > 1,
            live: false,
            markers: { width: 0, fill: (_, number) => lines[number - 1]?.colour ?? style("--ink") },
        },
        plugins: [tooltip(options)],
    };
}

/** Shows the values of all lines at the place of the cursor, in the order in which they lie there. */
function tooltip({ x, y, lines }) {
    const tip = element("div", { className: "tip", hidden: true });
    const place = (self) => {
        const { left, top, idx } = self.cursor;
        tip.hidden = idx == null || left < 0;
        if (tip.hidden) return;
        const rows = lines
            .map((line, number) => ({ line, value: self.data[number + 1][idx], shown: self.series[number + 1].show }))
            .filter(({ value, shown }) => shown && value != null)
            .sort((a, b) => b.value - a.value);
        const table = element("table", {}, ...rows.map(({ line, value }) => {
            const mark = element("i");
            mark.style.background = line.colour ?? style("--ink");
            return element("tr", {}, element("td", {}, mark, line.label), element("td", { textContent: y.exact(value) }));
        }));
        tip.replaceChildren(element("strong", { textContent: x.exact(self.data[0][idx]) }), table);
        const isRight = left > self.over.clientWidth / 2;
        tip.style.left = `${isRight ? left - tip.offsetWidth - 12 : left + 12}px`;
        tip.style.top = `${Math.max(0, Math.min(top, self.over.clientHeight - tip.offsetHeight))}px`;
    };
    return {
        hooks: {
            init: (self) => {
                self.over.append(tip);
                self.over.addEventListener("mouseleave", () => (tip.hidden = true));
            },
            setCursor: place,
        },
    };
}

/* The parts of a section. */

const isOurs = (policy) => policy !== TEXTBOOK && !LIMITS.includes(policy);

/** How a policy is drawn: the default stands out, what is no policy of ours is broken. */
function look(policy, number) {
    if (LIMITS.includes(policy)) return { dash: [8, 5], width: 2 };
    if (policy === TEXTBOOK) return { colour: "#8a8a90", dash: [3, 4], width: 2 };
    return { colour: COLOURS[number % COLOURS.length], width: policy === DEFAULT ? 3.5 : 1.8 };
}

function curves(parent, { outcomes, by_size }, title, caption, of) {
    const known = outcomes.filter((outcome) => of(outcome) != null);
    const capacities = [...new Set(known.map((outcome) => outcome.capacity))];
    const policies = [...new Set(known.map((outcome) => outcome.policy))];
    if (capacities.length < 2) return;
    const ours = policies.filter(isOurs);
    const misses = policies.map((policy) => capacities.map((capacity) => {
        const found = known.find((outcome) => outcome.policy === policy && outcome.capacity === capacity);
        return found ? 100 - of(found) : null;
    }));
    const amount = by_size ? bytes : (number) => `${whole.format(number)} entries`;
    plot(parent, title, caption, {
        data: [capacities, ...misses],
        points: true,
        x: { label: by_size ? "capacity" : "capacity (entries)", log: true, exact: amount,
            values: by_size ? bytes : short.format },
        y: { label: "misses (%)", values: (value) => `${value}`, exact: (value) => `${value.toFixed(2)} %`,
            range: (_, low, high) => {
                const margin = Math.max((high - low) * 0.05, 0.5);
                return [Math.max(0, low - margin), Math.min(100, high + margin)];
            } },
        lines: policies.map((policy) => ({ label: policy, ...look(policy, ours.indexOf(policy)) })),
    });
}

function workingSet(parent, windows) {
    const length = windows[0].end;
    plot(parent, "Working set",
        `Keys in each window of ${whole.format(length)} accesses, and those among them that had not been seen before.`, {
        data: [windows.map((w) => w.end), windows.map((w) => w.distinct), windows.map((w) => w.new)],
        x: { label: "accesses so far", values: short.format, exact: (value) => `up to access ${whole.format(value)}` },
        y: { label: "keys", values: short.format, exact: whole.format, range: (_, low, high) => [0, high * 1.05] },
        lines: [
            { label: "keys in use", colour: COLOURS[0] },
            { label: "new keys", colour: COLOURS[1], fill: true },
        ],
    });
}

function popularity(parent, { popularity, exponent }) {
    plot(parent, "Popularity",
        `How often the keys are asked for, the most popular first. The nearest Zipf distribution has the exponent ${exponent.toFixed(2)}.`, {
        data: [popularity.map((p) => p.rank), popularity.map((p) => p.accesses)],
        x: { label: "rank of the key", log: true, values: short.format, exact: (value) => `rank ${whole.format(value)}` },
        y: { label: "accesses", log: true, values: short.format, exact: whole.format },
        lines: [{ label: "accesses", colour: COLOURS[0] }],
    });
}

function figures({ outcomes, by_size }) {
    const columns = [
        ["capacity", (o) => (by_size ? bytes(o.capacity) : whole.format(o.capacity))],
        ["policy", (o) => o.policy],
        ["hits %", (o) => fixed(2)(o.hit_percent)],
        ["± points", (o) => (o.error > 0 ? o.error.toFixed(2) : "")],
        ["bytes hit %", (o) => fixed(2)(o.byte_hit_percent)],
        ["ns/access", (o) => fixed(0)(o.nanos_per_access)],
        ["evicted", (o) => (o.evictions == null ? "" : whole.format(o.evictions))],
        ["refused", (o) => (o.refusals ? whole.format(o.refusals) : "")],
        ["expired", (o) => (o.expirations ? whole.format(o.expirations) : "")],
    ].filter(([, text]) => outcomes.some((outcome) => text(outcome) !== ""));
    const best = new Map();
    for (const o of outcomes.filter((outcome) => isOurs(outcome.policy))) {
        best.set(o.capacity, Math.max(best.get(o.capacity) ?? 0, o.hit_percent));
    }
    let before = null;
    const rows = outcomes.map((outcome) => {
        const isFirst = outcome.capacity !== before;
        before = outcome.capacity;
        const isBest = isOurs(outcome.policy) && outcome.hit_percent >= best.get(outcome.capacity) - 0.005;
        return element("tr", { className: `${isFirst ? "first " : ""}${isBest ? "best" : ""}` },
            ...columns.map(([, text]) => element("td", { textContent: text(outcome) })));
    });
    const head = element("tr", {}, ...columns.map(([name]) => element("th", { textContent: name })));
    const table = element("table", { className: "figures" }, element("thead", {}, head), element("tbody", {}, ...rows));
    return element("details", {}, element("summary", { textContent: "All figures" }),
        element("div", { className: "scroll" }, table));
}

function section({ simulation, profile, sentence, method }) {
    const made = element("section", {}, element("h2", { textContent: simulation.trace }));
    const facts = [`${whole.format(simulation.accesses)} accesses to ${whole.format(simulation.distinct)} keys`];
    if (simulation.bytes != null) {
        facts.push(`${bytes(simulation.bytes)} asked for, ${bytes(simulation.footprint)} in all`);
    }
    if (simulation.skipped > 0) facts.push(`${whole.format(simulation.skipped)} bad lines left out`);
    made.append(element("p", { className: "facts", textContent: `${facts.join("; ")}. ${method}` }));
    if (sentence) made.append(element("p", { className: "advice", textContent: sentence }));
    curves(made, simulation, "Misses by capacity", "In percent of the accesses: the lower, the better.",
        (outcome) => outcome.hit_percent);
    curves(made, simulation, "Bytes missed by capacity", "In percent of all bytes asked for: the lower, the better.",
        (outcome) => outcome.byte_hit_percent);
    const pair = element("div", { className: "pair" });
    made.append(pair);
    workingSet(pair, profile.windows);
    popularity(pair, profile);
    made.append(figures(simulation));
    return made;
}

document.querySelector("main").append(...sections.map(section));
plots.forEach(draw);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => plots.forEach(draw));
addEventListener("resize", () => plots.filter((p) => p.place.clientWidth !== p.width).forEach(draw));
