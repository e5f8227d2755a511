// Renews the page's parts every second. Parts that have not changed are left alone, so that the
// reader keeps focus, selection, scroll position and what was folded open.
"use strict";

const INTERVAL_MS = 1000;
const TIMEOUT_MS = 10000;
const main = document.getElementById("live");
const connection = document.getElementById("connection");
const address = "/fragment/overview?submission=" + encodeURIComponent(main.dataset.submission);

function say(text) {
  if (connection.textContent !== text) connection.textContent = text;
}

function keep(old, fresh) {
  for (const details of old.querySelectorAll("details[id][open]")) {
    const same = fresh.querySelector("#" + CSS.escape(details.id));
    if (same) same.open = true;
  }
  const boxes = fresh.querySelectorAll(".scroll");
  return [...old.querySelectorAll(".scroll")].map((box, index) => ({
    box: boxes[index], left: box.scrollLeft, top: box.scrollTop, active: box === document.activeElement,
  }));
}

function replace(old, fresh) {
  const focused = old.contains(document.activeElement) ? document.activeElement.id : "";
  const kept = keep(old, fresh);
  old.replaceWith(fresh);
  for (const { box, left, top, active } of kept) {
    if (!box) continue;
    box.scrollLeft = left;
    box.scrollTop = top;
    if (active) box.focus({ preventScroll: true });
  }
  if (focused) document.getElementById(focused)?.focus({ preventScroll: true });
}

const shown = new Map();

function renew(text) {
  const fresh = new DOMParser().parseFromString(text, "text/html").body;
  const sections = [...fresh.children];
  const ids = sections.map((section) => section.id);
  for (const old of [...main.children]) if (!ids.includes(old.id)) old.remove();
  let before = null;
  for (const section of sections) {
    const old = document.getElementById(section.id);
    const source = section.outerHTML;
    if (!old) main.insertBefore(section, before ? before.nextSibling : main.firstChild);
    else if (shown.get(section.id) !== source) replace(old, section);
    shown.set(section.id, source);
    before = document.getElementById(section.id);
  }
}

async function tick() {
  if (!document.hidden) {
    try {
      const answer = await fetch(address, { signal: AbortSignal.timeout(TIMEOUT_MS) });
      const text = await answer.text();
      if (answer.ok) {
        renew(text);
        say("");
      } else if (answer.status === 401) {
        say("signed out - reload the page to sign in again");
      } else {
        const problem = new DOMParser().parseFromString(text, "text/html").querySelector("#problem p");
        say((problem ? problem.textContent : "status " + answer.status) + " - trying again");
      }
    } catch {
      say("no answer from this address - trying again");
    }
  }
  setTimeout(tick, INTERVAL_MS);
}

setTimeout(tick, INTERVAL_MS);
