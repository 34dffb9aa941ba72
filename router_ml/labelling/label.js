"use strict";

const KEYS = 9; // labels that a digit chooses
const $ = (id) => document.getElementById(id);
let state = null;
let chosen = new Set();
let isBusy = false;

function make(tag, text, className = "") {
  const made = document.createElement(tag);
  made.textContent = text; // never as markup: it is what a log says
  made.className = className;
  return made;
}

async function ask(action, body) {
  if (isBusy) return;
  setBusy(true);
  try {
    const options = body && { method: "POST", body: JSON.stringify(body) };
    const response = await fetch(action, options);
    const told = await response.json();
    if (response.ok) show(told);
    else if (response.status === 409) await refresh(told.problem);
    else $("problem").textContent = told.problem;
  } catch {
    $("problem").textContent =
      "The session does not answer. Every answer so far is saved: start the command again.";
  } finally {
    setBusy(false);
  }
}

function setBusy(is) {
  isBusy = is;
  document.body.setAttribute("aria-busy", String(is));
}

// Another window may have answered: show where the session stands, and why.
async function refresh(problem) {
  show(await (await fetch("state")).json());
  $("problem").textContent = problem;
}

function show(told) {
  state = told;
  const question = state.question;
  $("problem").textContent = "";
  showProgress();
  for (const id of ["question", "answers"]) $(id).hidden = !question;
  $("done").hidden = Boolean(question);
  if (question) {
    chosen = new Set(state.single ? [] : question.proposed ?? []);
    showQuestion(question);
    $("name").value = "";
    showLabels();
  }
  $("undo").disabled = !state.can_undo;
  (question ? $("question") : $("done")).focus();
}

function showProgress() {
  const count = (n) => n.toLocaleString("en");
  const counted = (n, noun) => `${count(n)} ${noun}${n === 1 ? "" : "s"}`;
  const share = (name, f) =>
    f.rows && `${name} ${percent(f.value)} (${percent(f.low)}–${percent(f.high)})`;
  $("progress").textContent =
    `${counted(state.answers, "answer")} · ` +
    `${count(state.rows_labelled)} of ${counted(state.rows, "row")}`;
  $("bar").value = state.rows ? state.rows_labelled / state.rows : 0;
  const shares = [share("Proposals right", state.proposals), share("learned so far", state.learned)];
  const rows = Math.max(state.proposals.rows, state.learned.rows);
  const known = shares.filter(Boolean).join(", ");
  $("accuracy").textContent = known && `${known}, on ${counted(rows, "row")} drawn at random`;
}

const percent = (share) => `${Math.round(100 * share)}%`;

function showQuestion(question) {
  $("turns").replaceChildren(
    ...question.turns.map(([role, text]) => {
      const turn = make("p", "", "turn");
      turn.dir = "auto";
      turn.append(make("b", role), text);
      return turn;
    }),
  );
  $("turns").scrollTop = $("turns").scrollHeight; // the last turn decides
  const notes = [
    question.rows > 1 && `One answer for ${question.rows.toLocaleString("en")} rows.`,
    question.cut && "Long: only a part is shown.",
    question.drawn && "Drawn at random.",
  ];
  $("about").textContent = notes.filter(Boolean).join(" ");
  $("alike").hidden = !question.alike.length;
  $("alike").open = false;
  $("alike").querySelector("ul").replaceChildren(...question.alike.map((text) => make("li", text)));
  const proposed = question.proposed;
  $("proposed").textContent =
    proposed ? `Proposed by ${question.by}: ${proposed.join(", ") || "none of the labels"}` : "";
}

function showLabels() {
  const typed = $("name").value.trim();
  const proposed = new Set(state.question.proposed ?? []);
  const labels = allLabels();
  const found = labels.filter((label) => label.toLowerCase().includes(typed.toLowerCase()));
  $("labels").replaceChildren(
    ...found.map((label) => {
      const button = make("button", label, proposed.has(label) ? "proposed" : "");
      button.type = "button";
      const digit = labels.indexOf(label) + 1;
      if (digit <= KEYS) button.append(" ", make("kbd", String(digit)));
      if (!state.single) button.setAttribute("aria-pressed", String(chosen.has(label)));
      button.addEventListener("click", () => choose(label));
      return button;
    }),
  );
  const isNew = typed && !labels.some((label) => label.toLowerCase() === typed.toLowerCase());
  $("add").hidden = !isNew;
  $("add").textContent = `Add “${typed}”`;
  $("accept").disabled = state.single && !state.question.proposed;
  $("none").hidden = state.single;
}

function choose(label) {
  if (state.single) return answer([label]);
  if (!chosen.delete(label)) chosen.add(label);
  $("name").value = "";
  showLabels();
}

// From the field: the label of that name, else the first that is found, else a new one.
function chooseTyped() {
  const typed = $("name").value.trim();
  if (!typed) return;
  const found = $("labels").querySelector("button");
  const same = state.labels.find((label) => label.toLowerCase() === typed.toLowerCase());
  if (same || !found) choose(same ?? typed);
  else found.click();
  $("name").blur();
}

const answer = (labels) => ask("answer", { key: state.question.key, labels });
const skip = () => ask("skip", { key: state.question.key });
const undo = () => ask("undo", {});

function accept() {
  if (!state.single) return answer([...chosen]);
  if (state.question.proposed) answer(state.question.proposed);
}

function press(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing || event.repeat) return;
  const key = event.key.toLowerCase();
  if (event.target.id === "name") {
    if (key === "enter") chooseTyped();
    else if (key === "escape") $("question").focus();
    return;
  }
  if (key === "u" && state?.can_undo) return undo();
  if (!state?.question) return;
  if (key === "/") {
    event.preventDefault();
    return $("name").focus();
  }
  if (key === "enter" && !event.target.closest("button, summary")) return accept();
  if (key === "s") return skip();
  if (key === "0" && !state.single) return answer([]);
  const label = /^[1-9]$/.test(key) && allLabels()[key - 1];
  if (label) choose(label);
}

// With those that were added to this answer and are not saved yet.
function allLabels() {
  return [...state.labels, ...[...chosen].filter((label) => !state.labels.includes(label))];
}

document.addEventListener("keydown", press);
$("name").addEventListener("input", showLabels);
$("add").addEventListener("click", () => choose($("name").value.trim()));
$("accept").addEventListener("click", accept);
$("none").addEventListener("click", () => answer([]));
$("skip").addEventListener("click", skip);
$("undo").addEventListener("click", undo);
$("guideline").hidden = !$("guideline").querySelector("pre").textContent;
ask("state");
