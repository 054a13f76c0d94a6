/*
 * The API key: asked for where the gateway wants one, kept for this tab, and told to nobody but the gateway.
 */
const SLOT = "errandry-api-key";
const dialog = document.getElementById("key-dialog");
const form = document.getElementById("key-form");
const input = document.getElementById("key-input");
const complaint = document.getElementById("key-complaint");
const forget = document.getElementById("forget-key");
let key = stored();
let asked = null;

/** The key as it stands, or null. */
export function currentKey() {
  return key;
}

/** Asks for a key, saying why; true once there is one, false if the person would rather not. Asks once for all who ask. */
export function askForKey(why) {
  asked ??= new Promise((resolve) => {
    document.getElementById("key-why").textContent = why;
    complaint.textContent = "";
    input.value = "";
    dialog.returnValue = "";
    dialog.addEventListener(
      "close",
      () => {
        asked = null;
        resolve(dialog.returnValue === "given");
      },
      { once: true },
    );
    dialog.showModal();
    input.focus();
  });
  return asked;
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  const given = input.value.trim();
  // Anything else could not be sent in a header at all.
  if (!/^[!-~]+$/.test(given)) {
    complaint.textContent = given ? "A key has letters, digits, - and _ only." : "Give a key: ek_ and what follows.";
    input.setAttribute("aria-invalid", "true");
    input.focus();
    return;
  }
  input.removeAttribute("aria-invalid");
  keep(given);
  dialog.close("given");
});
document.getElementById("key-cancel").addEventListener("click", () => dialog.close(""));
forget.addEventListener("click", () => {
  keep(null);
  // What was read with the key goes with it.
  location.reload();
});
forget.hidden = key === null;

function keep(value) {
  key = value;
  forget.hidden = value === null;
  try {
    if (value === null) sessionStorage.removeItem(SLOT);
    else sessionStorage.setItem(SLOT, value);
  } catch {
    // Storage may be switched off; then the key lasts until the page is left.
  }
}

function stored() {
  try {
    return sessionStorage.getItem(SLOT);
  } catch {
    return null;
  }
}
