// The page: polls the status and changes only the elements that differ. Text of servers and users goes into text nodes
// and attributes, never into markup.

const STATES = ["lost", "down", "warn", "untested", "maintenance", "suspended", "up"];
const FAILING = ["lost", "down", "warn"];
const MOST_GROUPS = 12; // groups shown at first
const MOST_TIMELINES = 50; // in one request, the limit of the API
const SVG = "http://www.w3.org/2000/svg";
const byId = (id) => document.getElementById(id);

const view = {
  targets: new Map(), // id -> the target as the API returned it
  rows: new Map(), // id -> its elements
  timelines: new Map(), // id -> { version } of the bars that are drawn
  open: null, // id of the target whose details are open
  state: null,
  group: null,
  allGroups: false,
  seconds: 5,
  updated: null,
};

// --- Elements -------------------------------------------------------------------------------------------------------

function el(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (value !== null && value !== false) element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

function svg(name, attributes = {}, ...children) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function setHidden(element, hidden) {
  if (element.hidden !== hidden) element.hidden = hidden;
}

// --- Texts ----------------------------------------------------------------------------------------------------------

// The Swedish format is that of ISO 8601, 2026-11-25 02:51:30; in the time zone of the browser.
const clock = new Intl.DateTimeFormat("sv-SE", { dateStyle: "short", timeStyle: "medium" });
const hour = new Intl.DateTimeFormat("sv-SE", { timeStyle: "short" });
const dateTime = (text) => (text ? clock.format(new Date(text)) : "");

function duration(seconds) {
  let left = Math.max(0, Math.round(seconds));
  const units = [["d", 86400], ["h", 3600], ["min", 60], ["s", 1]];
  const first = units.findIndex(([, size]) => left >= size);
  const parts = [];
  for (const [unit, size] of units.slice(first < 0 ? 3 : first).slice(0, 2)) {
    const count = Math.floor(left / size);
    left -= count * size;
    if (count || !parts.length) parts.push(`${count} ${unit}`);
  }
  return parts.join(" ");
}

const secondsBetween = (earlier, later) => (new Date(later) - new Date(earlier)) / 1000;
const ms = (value) => (value === null || value === undefined ? "-" : `${value >= 100 ? value.toFixed(0) : Number(value.toPrecision(3))} ms`);
const counted = (count, noun) => `${count} ${noun}${count === 1 ? "" : "s"}`;

function percent(share) {
  if (share === null) return "never tested";
  return share === 1 ? "100 %" : `${(Math.floor(share * 100000) / 1000).toFixed(3)} %`;
}

const endpoint = (target) => `${target.host.includes(":") ? `[${target.host}]` : target.host}:${target.port}${target.tls === "none" ? "" : `, TLS ${target.tls}`}`;

function result(target) {
  if (target.result === null) return "";
  return target.result === "passed" ? ms(target.rtt_ms) : `${target.message} (${target.reason})`;
}

// --- Requests -------------------------------------------------------------------------------------------------------

// The header keeps the browser from opening a login dialog of its own at a 401: the page goes to the sign-in page.
async function get(path) {
  const response = await fetch(path, { headers: { "X-Popwatch-Page": "1" }, signal: AbortSignal.timeout(30000) });
  if (response.status === 401) location.assign("sign-in");
  if (!response.ok) throw new Error(`${response.status}`);
  return response.json();
}

let refreshing = false;

async function refresh() {
  if (refreshing || document.hidden) return;
  refreshing = true;
  try {
    const status = await get("api/status");
    const first = !view.updated;
    view.seconds = status.refresh_seconds;
    view.updated = new Date();
    show(status);
    if (first) await openFromAddress();
    else if (view.open) await showDetails(view.open);
  } catch (error) {
    banner(`Not updated since ${view.updated ? dateTime(view.updated) : "this page was opened"}: popwatch does not answer (${error.message}).`);
  } finally {
    refreshing = false;
  }
}

async function poll() {
  await refresh();
  setTimeout(poll, view.seconds * 1000);
}

function banner(text) {
  setText(byId("banner"), text);
  setHidden(byId("banner"), !text);
}

// --- The list -------------------------------------------------------------------------------------------------------

function show(status) {
  const before = view.targets;
  view.targets = new Map(status.targets.map((target) => [target.target_id, target]));
  setHidden(byId("sign-out"), !status.signed_in);
  const since = status.last_sweep ? `the last sweep was ${duration(secondsBetween(status.last_sweep, status.at))} ago` : "there has been no sweep yet";
  banner(status.stopped ? `Nothing is being watched: ${since}. "popwatch doctor" says why.` : "");
  summarize(status, since);
  announceChanges(before);
  showStates();
  showGroups();
  showRows(status.at, before.size > 0);
}

function countBy(targets, key) {
  const counts = new Map();
  for (const target of targets) counts.set(target[key], (counts.get(target[key]) ?? 0) + 1);
  return counts;
}

function summarize(status, since) {
  const counts = countBy(status.targets, "state");
  const bad = (counts.get("down") ?? 0) + (counts.get("lost") ?? 0);
  const all = counted(status.targets.length, "target");
  const warned = counts.get("warn") ? `${counts.get("warn")} in warn` : "none down";
  setText(byId("summary"), `${bad ? `${bad} of ${all} down` : `${all}, ${warned}`}; ${since}.`);
  document.title = status.stopped ? "stopped - popwatch" : bad ? `${bad} down - popwatch` : "popwatch";
}

function announceChanges(before) {
  const changes = [...view.targets.values()]
    .filter((target) => before.has(target.target_id) && before.get(target.target_id).state !== target.state)
    .map((target) => `${target.name} is now ${target.state}`);
  if (!changes.length) return;
  const more = changes.length > 5 ? [`${changes.length - 5} more changed`] : [];
  setText(byId("news"), `${[...changes.slice(0, 5), ...more].join(". ")}.`); // a live region: screen readers read it
}

// The buttons are kept from one refresh to the next, so that the focus stays on them.
function showTiles(box, entries, press) {
  const unused = new Map([...box.children].map((button) => [button.dataset.key, button]));
  entries.forEach(({ key, number, label, style, pressed }, position) => {
    let button = unused.get(key);
    if (!button) {
      button = el("button", { type: "button", "data-key": key, onclick: () => press(key) }, el("b"), el("span"));
      if (number === null) button.firstChild.remove();
    }
    unused.delete(key);
    if (number !== null) setText(button.firstChild, String(number));
    setText(button.lastChild, label);
    button.lastChild.className = style;
    button.setAttribute("aria-pressed", String(pressed));
    if (box.children[position] !== button) box.insertBefore(button, box.children[position] ?? null);
  });
  for (const button of unused.values()) button.remove();
}

function showStates() {
  const counts = countBy(view.targets.values(), "state");
  const entries = STATES.filter((state) => counts.has(state) || state === view.state).map((state) => ({
    key: state, number: counts.get(state) ?? 0, label: state, style: `state ${state}`, pressed: view.state === state,
  }));
  showTiles(byId("states"), entries, (key) => { view.state = view.state === key ? null : key; filter(); showStates(); });
}

function showGroups() {
  const groups = new Map();
  for (const target of view.targets.values()) {
    if (!target.group) continue;
    const group = groups.get(target.group) ?? { all: 0, failing: 0, worst: STATES.length };
    group.all += 1;
    group.failing += FAILING.includes(target.state) ? 1 : 0;
    group.worst = Math.min(group.worst, STATES.indexOf(target.state));
    groups.set(target.group, group);
  }
  const sorted = [...groups].sort(([a, x], [b, y]) => y.failing - x.failing || x.worst - y.worst || a.localeCompare(b));
  const shown = view.allGroups ? sorted : sorted.slice(0, MOST_GROUPS);
  const entries = shown.map(([name, group]) => ({
    key: `=${name}`, number: null, style: group.failing ? STATES[group.worst] : "", pressed: view.group === name,
    label: group.failing ? `${name}: ${group.failing} of ${group.all} failing` : `${name}: ${group.all}`,
  }));
  if (shown.length < sorted.length) entries.push({ key: "all", number: null, style: "", pressed: false, label: `${sorted.length - shown.length} more groups` });
  setHidden(byId("groups"), groups.size < 2);
  showTiles(byId("groups"), entries, (key) => {
    if (key === "all") view.allGroups = true;
    else view.group = view.group === key.slice(1) ? null : key.slice(1);
    filter();
    showGroups();
  });
}

function showRows(at, live) {
  const list = byId("targets");
  for (const [id, row] of view.rows) {
    if (view.targets.has(id)) continue;
    row.item.remove();
    view.rows.delete(id);
  }
  let position = list.firstElementChild;
  for (const [id, target] of view.targets) {
    const row = view.rows.get(id) ?? makeRow(id);
    fill(row, target, at, live);
    if (position === row.item) position = position.nextElementSibling;
    else move(row.item, list, position);
  }
  filter();
}

// Moving an element takes the focus from the elements in it.
function move(item, list, before) {
  const focused = item.contains(document.activeElement) ? document.activeElement : null;
  list.insertBefore(item, before);
  focused?.focus({ preventScroll: true });
}

function makeRow(id) {
  const row = {
    label: el("span"), since: el("span", { class: "since" }), open: el("button", { type: "button", "aria-expanded": "false", onclick: () => toggle(id) }),
    server: el("span", { class: "server" }), result: el("span"), remarks: el("span", { class: "remark" }),
    bars: svg("svg", { class: "bars", viewBox: "0 0 450 20", preserveAspectRatio: "none", role: "img" }),
    figures: el("span", { class: "soft" }), alerts: el("span"), failures: el("span"), next: el("span"), state: null,
  };
  const stateBox = el("div", {}, row.label, row.since);
  row.stateBox = stateBox;
  row.item = el("li", { class: "target" }, el("div", { class: "row" },
    stateBox,
    el("div", { class: "name" }, el("h3", {}, row.open), row.server),
    el("div", { class: "result" }, row.result, row.remarks),
    el("div", { class: "history" }, row.bars, row.figures),
    el("div", { class: "counts" }, row.alerts, row.failures, row.next)));
  row.item.dataset.id = id;
  row.bars.setAttribute("aria-label", "Last 90 days");
  view.rows.set(id, row);
  watcher.observe(row.item);
  return row;
}

function fill(row, target, at, live) {
  if (row.state !== target.state) {
    row.stateBox.className = `state ${target.state}`;
    row.item.classList.toggle("fresh", live);
    row.state = target.state;
  }
  setText(row.label, target.state.toUpperCase());
  setText(row.since, target.since ? `for ${duration(secondsBetween(target.since, at))}` : "");
  setText(row.open, target.name);
  setText(row.server, [endpoint(target), target.group].filter(Boolean).join(" - "));
  setText(row.result, result(target));
  setText(row.remarks, target.remarks.join("; "));
  setText(row.alerts, target.alerts_sent ? `alert ${target.alerts_sent} of ${target.max_alerts}` : "");
  setText(row.failures, target.failures ? `${target.failures} failed` : "");
  setText(row.next, target.next_test_at ? `next in ${duration(secondsBetween(at, target.next_test_at))}` : "");
}

function filter() {
  const words = byId("search").value.toLowerCase().split(/\s+/).filter(Boolean);
  let shown = 0;
  for (const [id, target] of view.targets) {
    const text = [id, target.name, target.host, target.group, target.tags.join(" "), target.state, target.reason, target.message].join(" ").toLowerCase();
    const wanted = (!view.state || target.state === view.state) && (view.group === null || target.group === view.group) && words.every((word) => text.includes(word));
    setHidden(view.rows.get(id).item, !wanted);
    shown += wanted ? 1 : 0;
  }
  const all = view.targets.size;
  setText(byId("shown"), shown === all ? "" : `${shown} of ${all} shown`);
  setText(byId("empty"), all ? "No target matches." : "There are no targets yet: `popwatch targets put mail host=pop.example.net` adds one.");
  setHidden(byId("empty"), shown > 0);
}

// --- Ninety days ----------------------------------------------------------------------------------------------------

const visible = new Set();
const watcher = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) {
    if (isIntersecting) visible.add(target.dataset.id);
    else visible.delete(target.dataset.id);
  }
  scheduleTimelines();
}, { rootMargin: "200px" });

let timelinesTimer = 0;
function scheduleTimelines() {
  clearTimeout(timelinesTimer);
  timelinesTimer = setTimeout(showTimelines, 150);
}

// A timeline is requested again when its version differs: after a change of state, and once an hour.
const versionOf = (target) => `${target.since} ${new Date().toISOString().slice(0, 13)}`;

async function showTimelines() {
  const wanted = [...visible].filter((id) => view.targets.has(id) && view.timelines.get(id)?.version !== versionOf(view.targets.get(id)));
  for (let start = 0; start < wanted.length; start += MOST_TIMELINES) {
    const ids = wanted.slice(start, start + MOST_TIMELINES);
    const versions = ids.map((id) => versionOf(view.targets.get(id)));
    try {
      const found = await get(`api/timelines?${new URLSearchParams(ids.map((id) => ["id", id]))}`);
      ids.forEach((id, index) => {
        if (!found[id] || !view.rows.has(id)) return;
        view.timelines.set(id, { version: versions[index] });
        drawTimeline(view.rows.get(id), found[id]);
      });
    } catch {
      return; // the next refresh shows the banner, and requests them again
    }
  }
}

function drawTimeline({ bars, figures }, timeline) {
  const days = new Map(timeline.days.map((day) => [day.day, day]));
  const paths = { up: "", down: "", maintenance: "", untested: "" };
  const today = Date.parse(new Date().toISOString().slice(0, 10));
  for (let index = 0; index < 90; index += 1) {
    const day = days.get(new Date(today - (89 - index) * 86400000).toISOString().slice(0, 10)) ?? {};
    const idle = (day.untested ?? 0) + (day.suspended ?? 0);
    const total = (day.up ?? 0) + (day.down ?? 0) + (day.maintenance ?? 0) + idle || 1;
    // At least 3 of 20 units high, so that a minute down is visible. A day without data is "untested" as a whole.
    const height = (seconds) => (seconds ? Math.max(3, (20 * seconds) / total) : 0);
    const parts = [["down", height(day.down)], ["maintenance", height(day.maintenance)], ["untested", day.up ? height(idle) : 20]];
    let top = 0;
    for (const [kind, units] of parts) {
      if (!units || top >= 20) continue;
      paths[kind] += `M${index * 5} ${top.toFixed(1)}h4V${Math.min(20, top + units).toFixed(1)}h-4z`;
      top += units;
    }
    if (top < 20) paths.up += `M${index * 5} ${top.toFixed(1)}h4V20h-4z`;
  }
  bars.replaceChildren(...Object.entries(paths).filter(([, path]) => path).map(([kind, path]) => svg("path", { class: kind, d: path })));
  const text = `${percent(timeline.availability)}, ${counted(timeline.outage_count, "outage")}`;
  bars.setAttribute("aria-label", `Last 90 days: ${text}`);
  setText(figures, text);
}

// --- One target -----------------------------------------------------------------------------------------------------

function toggle(id) {
  history.replaceState(null, "", view.open === id ? location.pathname : `#${encodeURIComponent(id)}`);
  openFromAddress();
}

function idInAddress() {
  try {
    return decodeURIComponent(location.hash.slice(1)) || null;
  } catch {
    return null;
  }
}

async function openFromAddress() {
  const id = idInAddress();
  if (view.open && view.open !== id) close(view.open);
  view.open = id;
  if (id) await showDetails(id);
}

function close(id) {
  const row = view.rows.get(id);
  if (!row) return;
  row.open.setAttribute("aria-expanded", "false");
  row.more?.remove();
  row.more = row.version = row.shown = null;
}

// Details are requested when the target has changed, and once a minute.
async function showDetails(id) {
  const row = view.rows.get(id), target = view.targets.get(id);
  if (!row || !target) return;
  row.open.setAttribute("aria-expanded", "true");
  const version = JSON.stringify([target.since, target.failures, target.remarks, new Date().toISOString().slice(0, 16)]);
  if (row.version === version) return;
  try {
    const details = await get(`api/targets/${encodeURIComponent(id)}`);
    if (view.open !== id) return;
    row.version = version;
    const shown = JSON.stringify(details);
    if (row.shown !== shown) replaceDetails(row, details); // unchanged elements keep the reader's selection
    row.shown = shown;
  } catch (error) {
    banner(`The details of ${target.name} cannot be loaded (${error.message}).`);
  }
}

function replaceDetails(row, details) {
  const more = el("section", { class: "more", "aria-label": `Details of ${details.name}` }, ...detailParts(details));
  if (row.more) {
    const scrolled = [...row.more.querySelectorAll(".wide")].map((box) => box.scrollLeft);
    const focused = [...row.more.querySelectorAll("[tabindex]")].indexOf(document.activeElement);
    row.more.replaceWith(more);
    more.querySelectorAll(".wide").forEach((box, index) => { box.scrollLeft = scrolled[index] ?? 0; });
    more.querySelectorAll("[tabindex]")[focused]?.focus({ preventScroll: true });
  } else row.item.append(more);
  row.more = more;
}

function detailParts(details) {
  const { recent, timeline } = details;
  const [p50, p95, p99] = recent.percentiles_ms;
  const failed = recent.failed.reduce((sum, count) => sum + count, 0);
  const text = `Round-trip time of the last 24 hours: p50 ${ms(p50)}, p95 ${ms(p95)}, p99 ${ms(p99)}; ${counted(recent.tests, "test")}, ${failed} failed`;
  const facts = [
    ["Id", details.target_id],
    ["Server", endpoint(details)],
    ["Last test", details.tested_at ? `${dateTime(details.tested_at)}: ${result(details)}` : "none yet"],
    ["Details", details.detail],
    ["Failing addresses", details.failed_addresses.join("; ")],
    ["Failing since", dateTime(details.failing_since)],
    ["Last passed", dateTime(details.last_good_at)],
    ["Next test", dateTime(details.next_test_at)],
    ["Certificate", details.certificate_expires ? `expires ${dateTime(details.certificate_expires)}, ${counted(details.certificate_days, "day")} left` : ""],
    ["Longest time to alert", `${duration(details.longest_notice_seconds)} after an outage begins`],
    ["Group", details.group],
    ["Tags", details.tags.join(", ")],
    ["Remarks", details.remarks.join("; ")],
    ["Problems", details.problems.join(" ")],
    ["90 days", `${percent(timeline.availability)}, ${counted(timeline.outage_count, "outage")}`],
  ].filter(([, value]) => value);
  return [
    el("dl", { class: "facts" }, ...facts.flatMap(([name, value]) => [el("dt", {}, name), el("dd", {}, value)])),
    el("h4", {}, "Last 24 hours"), el("p", { class: "soft" }, text), ...chart(recent, text),
    ...table("Outages of 90 days", ["From", "Until", "Down for", "Error"], details.outages.map((outage) => [
      `${outage.begun_before ? "before " : ""}${dateTime(outage.begin)}`, outage.end ? dateTime(outage.end) : "ongoing", duration(outage.down_seconds),
      outage.error ? `${outage.error}${outage.reason ? ` (${outage.reason})` : ""}` : "",
    ])),
    ...table("Events", ["Time", "Event"], details.events.map((event) => [dateTime(event.tick), describe(event)])),
  ];
}

function describe(event) {
  if (event.kind === "transition") return `${event.previous} to ${event.state}${event.reason ? ` (${event.reason})` : ""}`;
  if (event.kind === "alert") return `alert: ${event.subject}${event.summary ? " (in a summary)" : ""}`;
  return `${event.action} by ${event.by || "unknown"}${event.why ? `: ${event.why}` : ""}`;
}

function table(title, heads, rows) {
  if (!rows.length) return [];
  const cells = (texts, name) => texts.map((text, index) => el(name, name === "th" ? { scope: "col" } : { class: index === texts.length - 1 ? "text" : null }, text));
  return [el("h4", {}, title), el("div", { class: "wide", tabindex: "0", role: "region", "aria-label": title },
    el("table", {}, el("thead", {}, el("tr", {}, ...cells(heads, "th"))), el("tbody", {}, ...rows.map((texts) => el("tr", {}, ...cells(texts, "td"))))))];
}

function chart(recent, text) {
  const { mean_ms: means, max_ms: maxima, failed } = recent;
  const greatest = Math.max(...maxima.map((value) => value ?? 0));
  if (!greatest && !failed.some(Boolean)) return [];
  const height = (value) => (95 * value) / (greatest || 1);
  let line = "", columns = "", failures = "", drawing = false;
  means.forEach((mean, index) => {
    if (maxima[index] !== null) columns += `M${index} 100V${(100 - height(maxima[index])).toFixed(1)}h1V100z`;
    if (failed[index]) failures += `M${index} 0h1V100h-1z`;
    if (mean !== null) line += `${drawing ? "L" : "M"}${index + 0.5} ${(100 - height(mean)).toFixed(1)}`;
    drawing = mean !== null;
  });
  const drawn = svg("svg", { class: "chart", viewBox: `0 0 ${means.length} 100`, preserveAspectRatio: "none", role: "img", "aria-label": text },
    svg("path", { class: "failed", d: failures }), svg("path", { class: "most", d: columns }), svg("path", { class: "mean", d: line }), svg("path", { class: "grid", d: `M0 100H${means.length}M0 5H${means.length}` }));
  const begin = new Date(recent.begin), hours = (recent.step_seconds * means.length) / 3600;
  const marks = [0, 0.25, 0.5, 0.75, 1].map((part) => el("span", {}, hour.format(new Date(begin.getTime() + part * hours * 3600000))));
  return [el("p", { class: "axis" }, el("span", {}, `maximum ${ms(greatest)}`), el("span", {}, "line: mean; column: maximum of five minutes; red: failed tests")), drawn, el("p", { class: "axis", "aria-hidden": "true" }, ...marks)];
}

// --- Start ----------------------------------------------------------------------------------------------------------

byId("search").addEventListener("input", filter);
document.addEventListener("keydown", (event) => {
  const typing = event.target instanceof HTMLInputElement;
  if (event.key === "/" && !typing && !event.ctrlKey && !event.metaKey) {
    event.preventDefault();
    byId("search").focus();
  } else if (event.key === "Escape" && typing) {
    byId("search").value = "";
    filter();
  }
});
addEventListener("hashchange", openFromAddress);
document.addEventListener("visibilitychange", refresh);
poll();
