/*
 * The page of a registry: it logs in, looks, and asks the registry's API for everything, as whoever logs in. Who may do what is decided there.
 *
 * What images say of themselves is hostile until shown: texts become text nodes and nothing else, digests and names are compared with their
 * grammar before they become part of a path, and what is long is cut. Name and password are in this program's memory alone, until it is left.
 */

const NAME = /^[a-z0-9]+(?:(?:\.|__|_|-+)[a-z0-9]+)*(?:\/[a-z0-9]+(?:(?:\.|__|_|-+)[a-z0-9]+)*)*$/;
const TAG = /^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$/;
const DIGEST = /^sha(?:256:[a-f0-9]{64}|384:[a-f0-9]{96}|512:[a-f0-9]{128})$/;
// Signatures, attestations and referrers, as cosign and the OCI specification tag them.
const ATTACHED = /^sha(?:256|512)-[a-f0-9]{64,128}(?:\.[a-z0-9]+)?$/;
const MANIFESTS = [
  "application/vnd.oci.image.index.v1+json",
  "application/vnd.oci.image.manifest.v1+json",
  "application/vnd.docker.distribution.manifest.list.v2+json",
  "application/vnd.docker.distribution.manifest.v2+json",
].join(", ");

// As registries take a manifest. Nobody has to have a larger configuration shown, either.
const LONGEST_ANSWER = 4 * 1024 * 1024;
const LONGEST_TEXT = 2000;
const MOST_ROWS = 200;
const ROWS_AT_A_TIME = 100;
const QUESTIONS_AT_A_TIME = 6;
const LISTS = "/v2/_drydock/repositories/list";
const STATE = "/v2/_drydock/registry/state";

const main = document.getElementById("main");
const nav = document.getElementById("nav");
const said = document.getElementById("said");

// Who has logged in: the header that says so, which is empty with a client certificate alone, and the name that the registry has for it.
let login = null;
// Ends what the view that is left still asks for.
let view = new AbortController();

// ---- Elements

function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children.filter((child) => child !== null && child !== undefined && child !== ""));
  return made;
}

// Text of a bounded length, whatever it was.
function text(value) {
  const whole = typeof value === "string" ? value : typeof value === "number" ? String(value) : "";
  return whole.length > LONGEST_TEXT ? `${whole.slice(0, LONGEST_TEXT)} … (${whole.length - LONGEST_TEXT} more characters)` : whole;
}

function list(value) {
  return Array.isArray(value) ? value.filter((one) => typeof one === "object" && one !== null) : [];
}

function object(value) {
  return typeof value === "object" && value !== null && !Array.isArray(value) ? value : {};
}

function number(value) {
  return Number.isSafeInteger(value) && value >= 0 ? value : 0;
}

function bytes(value) {
  const units = ["bytes", "KiB", "MiB", "GiB", "TiB"];
  let size = number(value);
  let unit = 0;
  for (; size >= 1024 && unit < units.length - 1; unit++) {
    size /= 1024;
  }
  return `${unit ? size.toFixed(1) : size} ${units[unit]}`;
}

function date(value) {
  const at = new Date(typeof value === "string" ? value : NaN);
  return Number.isNaN(at.getTime()) || at.getTime() <= 0 ? "" : at.toISOString().slice(0, 16).replace("T", " ") + " UTC";
}

function count(amount, noun) {
  return `${amount} ${noun}${amount === 1 ? "" : "s"}`;
}

function say(sentence) {
  said.textContent = sentence;
  clearTimeout(say.ends);
  say.ends = setTimeout(() => { said.textContent = ""; }, 5000);
}

function show(title, ...children) {
  const heading = element("h1", { tabIndex: -1 }, title);
  main.replaceChildren(heading, ...children);
  document.title = `${title} - Registry`;
  return heading;
}

function problem(error) {
  return element("p", { className: "bad", role: "alert" }, text(error.message));
}

// ---- The API

class Refusal extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

let asking = 0;
const waiting = [];

async function inTurn(question) {
  if (asking >= QUESTIONS_AT_A_TIME) {
    await new Promise((resolve) => waiting.push(resolve));
  }
  asking++;
  try {
    return await question();
  } finally {
    asking--;
    waiting.shift()?.();
  }
}

function ask(path, { method = "GET", accept = "application/json", as = login, signal = view.signal } = {}) {
  return inTurn(async () => {
    signal.throwIfAborted();
    // Who sends this header gets no window of the browser's own for a wrong password.
    const headers = { Accept: accept, "Drydock-Page": "yes" };
    if (as?.header) {
      headers.Authorization = as.header;
    }
    let answer;
    try {
      answer = await fetch(path, { method, headers, signal, cache: "no-store", redirect: "error" });
    } catch (error) {
      signal.throwIfAborted();
      throw new Refusal(0, "The registry cannot be reached, or leads elsewhere for this.");
    }
    const body = await bounded(answer);
    if (!answer.ok) {
      throw new Refusal(answer.status, sentence(answer.status, body));
    }
    return { body, headers: answer.headers };
  });
}

// No answer is read that is too long for this page.
async function bounded(answer) {
  const reader = answer.body?.getReader();
  const decoder = new TextDecoder();
  let read = 0;
  let found = "";
  for (let part = await reader?.read(); part && !part.done; part = await reader.read()) {
    read += part.value.length;
    if (read > LONGEST_ANSWER) {
      await reader.cancel();
      throw new Refusal(0, "The answer is longer than 4 MiB and is not shown.");
    }
    found += decoder.decode(part.value, { stream: true });
  }
  return found;
}

function sentence(status, body) {
  try {
    return `The registry says: ${JSON.parse(body).errors[0].message} (${status}).`;
  } catch {
    return `The registry answers with status ${status}.`;
  }
}

function parsed(body) {
  try {
    return object(JSON.parse(body));
  } catch {
    throw new Refusal(0, "This is nothing that the page can read.");
  }
}

async function manifest(name, reference) {
  const answer = await ask(`/v2/${name}/manifests/${reference}`, { accept: MANIFESTS });
  const digest = answer.headers.get("Docker-Content-Digest") ?? "";
  return { ...parsed(answer.body), digest: DIGEST.test(digest) ? digest : "", length: answer.body.length };
}

async function configuration(name, found) {
  const about = object(found.config);
  if (!DIGEST.test(about.digest) || number(about.size) > LONGEST_ANSWER) {
    return {};
  }
  try {
    return parsed((await ask(`/v2/${name}/blobs/${about.digest}`)).body);
  } catch (error) {
    // Any file may be called a configuration.
    if (error instanceof Refusal && error.status !== 401) {
      return {};
    }
    throw error;
  }
}

function platform(about) {
  const { os, architecture, variant } = object(about);
  return [os, architecture, variant].map(text).filter((part) => part && part !== "unknown").join("/");
}

function sizeOf(found) {
  return found.length + number(object(found.config).size) + list(found.layers).reduce((sum, layer) => sum + number(layer.size), 0);
}

// The images of an index that run somewhere; what is attached to them has an unknown platform.
function children(found) {
  return list(found.manifests).filter((child) => DIGEST.test(child.digest) && platform(child.platform));
}

// ---- Logging in and out

function headerOf(user, password) {
  const raw = new TextEncoder().encode(`${user}:${password}`);
  return `Basic ${btoa(String.fromCharCode(...raw))}`;
}

async function logIn(header) {
  const found = parsed((await ask(`${LISTS}?n=1`, { as: { header } })).body);
  login = { header, user: text(found.user), operates: false };
  try {
    await ask(STATE);
    login.operates = true;
  } catch (error) {
    if (!(error instanceof Refusal)) {
      throw error;
    }
  }
}

function logOut(sentenceToSay) {
  login = null;
  showLogin(sentenceToSay);
}

function showLogin(message = "") {
  view.abort();
  view = new AbortController();
  nav.replaceChildren();
  const user = element("input", { id: "user", autocomplete: "username", autocapitalize: "none", spellcheck: false, required: true });
  const password = element("input", { id: "password", type: "password", autocomplete: "current-password", required: true });
  const alert = element("p", { className: "bad", role: "alert" }, message);
  const attempt = async (header) => {
    alert.textContent = "";
    try {
      await logIn(header);
      password.value = "";
      await route();
    } catch (error) {
      alert.textContent = error.status === 401 ? "The user or the password is wrong." : error.message;
    }
  };
  const form = element("form", {},
    element("label", { htmlFor: "user" }, "User"), user,
    element("label", { htmlFor: "password" }, "Password"), password,
    element("p", { className: "row" },
      element("button", { type: "submit" }, "Log in"),
      element("button", { type: "button", onclick: () => attempt("") }, "Log in with a client certificate")));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    attempt(headerOf(user.value, password.value));
  });
  show("Log in", form, alert);
  user.focus();
}

// ---- Lists that are fetched and made as they are seen

// Calls `more` each time the end of the list comes into view, until it returns false.
function endless(rows, more) {
  const alert = element("div");
  const button = element("button", { type: "button" }, "Show more");
  let busy = false;
  const go = async () => {
    if (busy) {
      return;
    }
    busy = true;
    try {
      const goesOn = await more();
      button.hidden = !goesOn;
      // Where there is still room, it is seen again.
      watcher.unobserve(button);
      if (goesOn) {
        watcher.observe(button);
      }
    } catch (error) {
      failed(error, alert);
    } finally {
      busy = false;
    }
  };
  const watcher = new IntersectionObserver((seen) => { if (seen.some((one) => one.isIntersecting)) { go(); } });
  view.signal.addEventListener("abort", () => watcher.disconnect());
  button.addEventListener("click", go);
  return { element: element("div", {}, rows, alert, button), go };
}

// Shows what went wrong, unless the view has been left; somebody who is not known any more logs in again.
function failed(error, place) {
  if (error.name === "AbortError") {
    return;
  }
  if (error.status === 401) {
    logOut("The registry does not know you any more: log in again.");
    return;
  }
  place.replaceChildren(problem(error instanceof Refusal ? error : new Error("This cannot be shown.")));
  if (!(error instanceof Refusal)) {
    console.error(error);
  }
}

// ---- Repositories

async function showRepositories() {
  const search = element("input", { id: "search", type: "search", autocomplete: "off", spellcheck: false });
  const rows = element("ul", { className: "rows", id: "repositories" });
  const about = element("p", { className: "weak" });
  const open = element("p");
  let next = "";
  let asked = 0;
  const path = () => `${LISTS}?n=${ROWS_AT_A_TIME}&search=${encodeURIComponent(search.value.trim().toLowerCase())}`;
  const shown = endless(rows, async () => {
    const mine = asked;
    const found = parsed((await ask(next || path())).body);
    if (mine !== asked) {
      return true;
    }
    rows.append(...list(found.repositories).filter((one) => NAME.test(one.name)).map(repositoryRow));
    next = typeof found.next === "string" && found.next.startsWith(`${LISTS}?`) ? found.next : "";
    about.textContent = found.time ? `As of ${date(found.time)}, the last storage report.` : "";
    const typed = search.value.trim();
    const there = list(found.repositories).some((one) => one.name === typed);
    open.replaceChildren(...(NAME.test(typed) && !there && !next
      ? ["Not in the list: ", element("a", { href: `#/r/${typed}`, className: "name" }, `open ${typed}`)] : []));
    if (!rows.firstChild) {
      about.textContent = `No repository that you may pull${typed ? " has this in its name" : ""}. ${about.textContent}`;
    }
    return next !== "";
  });
  search.addEventListener("input", () => {
    clearTimeout(search.waits);
    search.waits = setTimeout(async () => {
      asked++;
      next = "";
      rows.replaceChildren();
      await shown.go();
    }, 150);
  });
  const heading = show("Repositories", element("label", { htmlFor: "search" }, "Find by name"), search, open, shown.element, about);
  heading.focus();
  await shown.go();
}

function repositoryRow(one) {
  const facts = [
    one.tags === null ? "" : count(number(one.tags), "tag"),
    one.size === null ? "" : bytes(one.size),
    date(one.newest),
  ];
  return element("li", { className: "row" },
    element("a", { href: `#/r/${one.name}`, className: "name" }, one.name),
    element("span", { className: "weak" }, facts.filter(Boolean).join(", ")));
}

// What the user may do there, which is empty where no list has the repository; then the API decides alone, as it does in any case.
async function accessTo(name) {
  const found = parsed((await ask(`${LISTS}?n=1000&search=${encodeURIComponent(name)}`)).body);
  return list(found.repositories).find((one) => one.name === name)?.access ?? "";
}

// ---- Tags

async function showRepository(name) {
  const search = element("input", { id: "search", type: "search", autocomplete: "off", spellcheck: false });
  const rows = element("ul", { className: "rows", id: "tags" });
  const about = element("p", { className: "weak" });
  const heading = show(name, element("label", { htmlFor: "search" }, "Find a tag"), search, about, rows);
  heading.focus();
  let tags;
  let access;
  try {
    [tags, access] = await Promise.all([allTags(name), accessTo(name)]);
  } catch (error) {
    failed(error, rows);
    return;
  }
  const attached = new Set(tags.filter((tag) => ATTACHED.test(tag)));
  const collator = new Intl.Collator("en", { numeric: true });
  const own = tags.filter((tag) => !attached.has(tag)).sort((a, b) => collator.compare(b, a));
  about.textContent = count(own.length, "tag") + (attached.size ? `, and ${attached.size} of signatures and attachments` : "");
  const repository = { name, attached, deletes: access === "admin" || access === "" };
  const summaries = new IntersectionObserver((seen) => seen.filter((one) => one.isIntersecting).forEach((one) => {
    summaries.unobserve(one.target);
    one.target.summarize();
  }));
  view.signal.addEventListener("abort", () => summaries.disconnect());
  let wanted = own;
  let made = 0;
  const shown = endless(rows, async () => {
    wanted.slice(made, made + ROWS_AT_A_TIME).forEach((tag) => {
      const row = tagRow(repository, tag);
      rows.append(row);
      summaries.observe(row);
    });
    made += ROWS_AT_A_TIME;
    return made < wanted.length;
  });
  main.append(shown.element);
  search.addEventListener("input", () => {
    const typed = search.value.trim().toLowerCase();
    wanted = own.filter((tag) => tag.toLowerCase().includes(typed));
    made = 0;
    summaries.disconnect();
    rows.replaceChildren();
    shown.go();
  });
  await shown.go();
}

async function allTags(name) {
  const tags = new Set();
  let path = `/v2/${name}/tags/list?n=1000`;
  while (path) {
    const answer = await ask(path);
    const before = tags.size;
    const found = parsed(answer.body).tags;
    (Array.isArray(found) ? found : []).filter((tag) => TAG.test(tag)).forEach((tag) => tags.add(tag));
    const last = [...tags].at(-1);
    // Registries that give all at once say nothing of a next part.
    path = answer.headers.has("Link") && tags.size > before ? `/v2/${name}/tags/list?n=1000&last=${encodeURIComponent(last)}` : "";
  }
  return [...tags];
}

function tagRow(repository, tag) {
  const facts = element("span", { className: "weak" });
  const details = element("div");
  const opened = element("details", {}, element("summary", {}, element("span", { className: "name" }, tag), facts), details);
  const row = element("li", {}, opened);
  let image = null;
  const fetched = () => {
    image ??= imageOf(repository.name, tag);
    return image;
  };
  row.summarize = async () => {
    try {
      const { found, platforms, size, created } = await fetched();
      const shown = [bytes(size), platforms.slice(0, 5).join(", ") + (platforms.length > 5 ? ", ..." : ""), created, found.digest.slice(0, 19)];
      facts.textContent = shown.filter(Boolean).join(" · ");
    } catch (error) {
      failed(error, facts);
    }
  };
  opened.addEventListener("toggle", async () => {
    if (opened.open && !details.firstChild) {
      details.replaceChildren(element("p", { className: "weak" }, "One moment"));
      try {
        details.replaceChildren(...await detailsOf(repository, tag, await fetched()));
      } catch (error) {
        failed(error, details);
      }
    }
  });
  return row;
}

// What a tag means: the manifest, the image that stands for all where it has several platforms, and its configuration.
async function imageOf(name, tag) {
  const found = await manifest(name, tag);
  const platformed = children(found);
  const first = platformed.length ? await manifest(name, platformed[0].digest) : found;
  const config = await configuration(name, first);
  const platforms = platformed.length ? platformed.map((child) => platform(child.platform)) : [platform(config)].filter(Boolean);
  return { found, first, config, platforms, size: sizeOf(first), created: date(config.created) };
}

async function detailsOf(repository, tag, { found, first, config, platforms, created }) {
  const image = `${location.host}/${repository.name}:${tag}`;
  const several = children(found).length > 0;
  const labels = object(object(config.config).Labels);
  const layers = list(first.layers);
  const history = list(config.history);
  return [
    element("h2", {}, "Pull"),
    command("docker", `docker pull ${image}`),
    command("podman", `podman pull ${image}`),
    command("Dockerfile", `FROM ${image}${found.digest ? `@${found.digest}` : ""}`),
    command("Kubernetes", `image: ${image}${found.digest ? `@${found.digest}` : ""}`),
    element("h2", {}, "Image"),
    facts([
      ["Digest", found.digest],
      ["Kind", text(found.mediaType)],
      ["Platforms", platforms.slice(0, MOST_ROWS).join(", ")],
      ["Size", `${bytes(sizeOf(first))}${several ? ` for ${platforms[0]}` : ""}, in ${count(layers.length, "layer")}`],
      ["Created", created],
      ...await attachments(repository, found),
    ]),
    ...titled("Labels", Object.entries(labels)),
    ...titled("Annotations", Object.entries(object(found.annotations))),
    ...(history.length ? [element("h2", {}, `History${several ? ` for ${platforms[0]}` : ""}`), historyOf(history, layers)] : []),
    repository.deletes
      ? element("p", {}, element("button", { type: "button", className: "bad", onclick: () => confirmDelete(repository, tag, found) }, `Delete ${tag} …`))
      : null,
  ].filter(Boolean);
}

function facts(pairs) {
  return element("dl", {}, ...pairs.filter(([, value]) => value !== "").flatMap(([name, value]) =>
    [element("dt", {}, text(name)), element("dd", {}, value)]));
}

function titled(title, pairs) {
  if (!pairs.length) {
    return [];
  }
  const more = pairs.length > MOST_ROWS ? element("p", { className: "weak" }, `and ${pairs.length - MOST_ROWS} more`) : null;
  const shown = pairs.slice(0, MOST_ROWS).map(([name, value]) => [name, text(value) || "(empty)"]);
  return [element("h2", {}, title), facts(shown), more].filter(Boolean);
}

function command(program, line) {
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(line);
      say("Copied");
    } catch {
      say("The browser does not let this page copy: mark the text instead");
    }
  };
  return element("div", { className: "command" }, element("span", { className: "weak" }, program), element("code", {}, line),
    element("button", { type: "button", ariaLabel: `Copy for ${program}`, onclick: copy }, "Copy"));
}

function historyOf(history, layers) {
  let layer = 0;
  const rows = history.slice(0, MOST_ROWS).map((step) => {
    const size = step.empty_layer === true ? "" : bytes(layers[layer++]?.size);
    return element("tr", {}, element("td", {}, date(step.created)), element("td", {}, text(step.created_by)), element("td", {}, size));
  });
  const head = ["When", "What made it", "Size"].map((name) => element("th", { scope: "col" }, name));
  const more = history.length > MOST_ROWS ? element("p", { className: "weak" }, `and ${history.length - MOST_ROWS} more steps`) : "";
  return element("div", {}, element("table", {}, element("thead", {}, element("tr", {}, ...head)), element("tbody", {}, ...rows)), more);
}

// Signatures by their tags, and what refers to the image: by the API where the registry has it, else by the tag that stands in for it.
async function attachments(repository, found) {
  if (!found.digest) {
    return [];
  }
  const beginning = found.digest.replace(":", "-");
  const tags = [...repository.attached].filter((tag) => tag.startsWith(`${beginning}.`)).map((tag) => tag.slice(beginning.length + 1));
  let refer = [];
  try {
    refer = list(parsed((await ask(`/v2/${repository.name}/referrers/${found.digest}`)).body).manifests);
  } catch (error) {
    if (!(error instanceof Refusal) || error.status === 401) {
      throw error;
    }
    if (repository.attached.has(beginning)) {
      refer = list((await manifest(repository.name, beginning)).manifests);
    }
  }
  const kinds = refer.map((one) => text(one.artifactType) || text(one.mediaType)).filter(Boolean);
  const signed = tags.includes("sig") || kinds.some((kind) => /cosign|sigstore|notary|signature/i.test(kind));
  return [
    ["Signature", signed ? "there is one; this page does not verify it" : "none"],
    ["Attached", [...tags, ...kinds].slice(0, MOST_ROWS).join(", ") || "nothing"],
  ];
}

// ---- Deleting

function confirmDelete(repository, tag, found) {
  const typed = element("input", { id: "typed", autocomplete: "off", spellcheck: false, autocapitalize: "none" });
  const explained = element("p", {}, `The tag ${tag} of ${repository.name} goes, for everybody.`);
  const alert = element("div");
  const yes = element("button", { type: "submit", className: "bad", disabled: true }, "Delete");
  const no = element("button", { type: "button", onclick: () => dialog.close() }, "Cancel");
  const form = element("form", {}, element("h2", {}, `Delete ${tag}?`), explained,
    element("label", { htmlFor: "typed" }, `Type ${tag} to delete it`), typed, alert,
    element("p", { className: "buttons" }, no, yes));
  const dialog = element("dialog", { ariaLabel: `Delete ${tag}` }, form);
  let reference = tag;
  typed.addEventListener("input", () => { yes.disabled = typed.value !== tag; });
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    yes.disabled = true;
    try {
      await ask(`/v2/${repository.name}/manifests/${reference}`, { method: "DELETE" });
      dialog.close();
      say(`Deleted ${tag}`);
      await route();
    } catch (error) {
      // Registries before 3 know no tags here.
      if (reference === tag && error.status === 400 && found.digest) {
        reference = found.digest;
        typed.value = "";
        typed.focus();
        explained.textContent = `This registry cannot delete a tag alone. The image ${found.digest} goes, with every tag that leads to it.`;
      } else {
        failed(error, alert);
      }
    }
  });
  dialog.addEventListener("close", () => dialog.remove());
  main.append(dialog);
  dialog.showModal();
  typed.focus();
}

// ---- The storage, for those who run it

async function showStorage() {
  const place = element("div");
  const heading = show("Storage", place);
  heading.focus();
  try {
    const health = parsedHealth(await ask("/healthz", { accept: "text/plain" }).catch((error) => ({ body: error.message })));
    const state = parsed((await ask(STATE)).body);
    const report = state.report === null ? null : object(state.report);
    const days = Math.floor((new Date(state.certificate_ends).getTime() - Date.now()) / 86400000);
    const totals = object(report?.totals);
    const amount = (key) => (Number.isSafeInteger(totals[key]) ? String(totals[key]) : "");
    const size = (key) => (Number.isSafeInteger(totals[key]) ? bytes(totals[key]) : "");
    place.replaceChildren(
      element("h2", {}, "Health"), element("p", {}, health),
      element("p", {}, state.certificate_ends ? `The certificate ends at ${date(state.certificate_ends)}, in ${count(days, "day")}.` : ""),
      element("h2", {}, "Storage report"),
      report ? facts([
        ["Made", date(report.time)],
        ["Repositories", amount("repositories")], ["Tags", amount("tags")], ["Images", amount("images")], ["Blobs", amount("blobs")],
        ["Size", size("size")], ["Garbage", size("garbage")], ["Collectable now", size("collectable")], ["Trash", size("trash")],
        ["Unfinished uploads", amount("uploads") && `${amount("uploads")}, ${size("uploads_size")}`],
      ]) : element("p", {}, "There is none yet."),
      ...titled("Largest images", list(report?.largest).map((one) => [bytes(one.size), `${text(one.repository)}:${text(one.tag)}`])));
  } catch (error) {
    failed(error, place);
  }
}

function parsedHealth({ body }) {
  const found = text(body).trim();
  return found === "ok" ? "A registry answers and reads its storage." : found;
}

// ---- Which view

async function route() {
  view.abort();
  view = new AbortController();
  if (!login) {
    showLogin();
    return;
  }
  const leave = () => logOut(login.header ? "" : "The browser goes on showing the client certificate until it is closed.");
  nav.replaceChildren(...[
    login.operates ? element("a", { href: "#/storage" }, "Storage") : null,
    element("span", { className: "name" }, login.user),
    element("button", { type: "button", onclick: leave }, "Log out"),
  ].filter(Boolean));
  const wanted = location.hash.slice(1);
  const name = wanted.startsWith("/r/") ? wanted.slice("/r/".length) : "";
  if (NAME.test(name)) {
    await showRepository(name);
  } else if (wanted === "/storage" && login.operates) {
    await showStorage();
  } else {
    await showRepositories();
  }
}

window.addEventListener("hashchange", route);
// Whoever shows a client certificate is in without a word.
logIn("").catch(() => {}).then(route);
