// The dialog: what is known of a trial, and the forms of the actions, made of the entries that the server sent.

import { element } from "./dom.js";

export class Forms {
  constructor(dialog, { form, actions }) {
    this.dialog = dialog;
    this.form = form;
    this.actions = actions;
  }

  // The actions on a sweep or a trial: name, entry, and whether it is offered in this state.
  of(kind, state, trial = null) {
    return Object.entries(this.actions).filter(([, action]) => action.of === kind).map(([name, action]) => [
      name,
      action,
      (!action.only_sweeps.length || action.only_sweeps.includes(state))
        && (trial === null || !action.only_trials.length || action.only_trials.includes(trial)),
    ]).filter(([, action, offered]) => offered || !action.else_hidden);
  }

  // A trial's facts, with a button for each action.
  show(number, { sweep, state, space, row, facts }) {
    const list = element("dl", { class: "facts" });
    for (const [name, text] of Object.entries(facts)) list.append(element("dt", {}, name), element("dd", {}, text));
    const buttons = this.of("trial", state, row.state).map(([name, action, offered]) =>
      element("button", { type: "button", disabled: !offered, onclick: () => this.open(name, number, { space, row, sweep }) }, action.label));
    this.fill(`Trial ${row.trial} of ${sweep}`, list, this.buttons(...buttons, this.closing("Close")));
  }

  // The form of an action.
  open(name, number, { space, row, sweep }) {
    const action = this.actions[name];
    const fields = action.form === "epochs" ? [this.epochs(row)]
      : action.form ? this.fields(space, action.form === "changes" ? row.params : {}) : [];
    const wrong = element("p", { class: "wrong", role: "alert", hidden: true });
    const send = element("button", { type: "submit", class: "main" }, action.label);
    const form = element("form", {},
      element("p", {}, action.explained.replaceAll("`", "")),
      element("div", { class: "fields" }, ...fields.map((field) => field.node)),
      wrong,
      this.buttons(send, this.closing("Cancel")));
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      const set = fields.filter((field) => field.input.value !== field.before && field.input.value.trim() !== "")
        .map((field) => `${field.name}=${field.input.value}`);
      send.disabled = true;
      const [done, said] = await this.ask(number, name, {
        trial: row?.trial ?? null,
        ...(action.form === "epochs" ? { epochs: Number(fields[0].input.value) } : action.form ? { set } : {}),
      });
      send.disabled = false;
      if (!done) {
        wrong.textContent = said;
        wrong.hidden = false;
        send.focus();
        return;
      }
      const close = this.closing("Close");
      this.fill(action.label, element("p", { class: "done", role: "status" }, said), this.buttons(close));
      close.focus();
    });
    this.fill(`${action.label}: ${row ? `trial ${row.trial} of ` : ""}${sweep}`, form);
    (fields[0]?.input ?? send).focus();
  }

  // A field for each parameter of the space, with the values that it may have.
  fields(space, params) {
    return space.map(({ name, values, choices }, n) => {
      const id = `field-${n}`;
      const given = params[name];
      const same = (text) => given !== undefined && JSON.stringify(JSON.parse(text)) === JSON.stringify(given);
      const input = choices
        ? element("select", { id, "aria-describedby": `${id}-hint` }, element("option", { value: "" }, "–"),
          ...choices.map(([shown, text]) => element("option", { value: text, selected: same(text) }, shown)))
        : element("input", { id, type: "text", autocomplete: "off", spellcheck: "false", "aria-describedby": `${id}-hint`, value: given === undefined ? "" : JSON.stringify(given) });
      return {
        name, input, before: input.value,
        node: element("div", {}, element("label", { for: id }, name), input, element("small", { id: `${id}-hint` }, values)),
      };
    });
  }

  // A field for the new number of epochs of a trial.
  epochs(row) {
    const input = element("input", { id: "field-0", type: "number", min: 1, step: 1, required: true, "aria-describedby": "field-0-hint", value: Math.round(2 * row.of) });
    const hint = element("small", { id: "field-0-hint" }, `It has run ${row.epoch}.`);
    return { name: "epochs", input, before: "", node: element("div", {}, element("label", { for: "field-0" }, "epochs"), input, hint) };
  }

  async ask(number, name, asked) {
    try {
      const answer = await fetch(`/sweeps/${number}/${name}`, {
        method: "POST",
        headers: { "Content-Type": "application/json", "X-Adaptertune-Form": this.form },
        body: JSON.stringify(asked),
      });
      const text = await answer.text();
      const json = answer.headers.get("content-type")?.startsWith("application/json");
      return [answer.ok, json ? JSON.parse(text).said : text];
    } catch {
      return [false, "The server does not answer; nothing was asked for."];
    }
  }

  fill(title, ...content) {
    this.dialog.replaceChildren(element("h2", { id: "dialog-title" }, title), ...content);
    if (!this.dialog.open) this.dialog.showModal();
  }

  buttons(...held) {
    return element("div", { class: "buttons" }, ...held);
  }

  closing(text) {
    return element("button", { type: "button", onclick: () => this.dialog.close() }, text);
  }
}
