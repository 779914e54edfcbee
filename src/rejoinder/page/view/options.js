/** What a session is answered by: the model, its parameters, and what it is told before all else. */

import { Dialog } from "./dialog.js";
import { html, useState } from "./html.js";
import { wordsOf } from "./notice.js";

const NUMBERS = [
  { name: "temperature", label: "Temperature", hint: "0 is sober, 2 is wild", min: 0, max: 2, step: "any" },
  { name: "top_p", label: "Top p", hint: "0 to 1", min: 0, max: 1, step: "any" },
  { name: "max_tokens", label: "Most tokens of a reply", hint: "The model's own limit", min: 1, max: 10_000_000, step: 1 },
  { name: "seed", label: "Seed", hint: "Any whole number", step: 1 },
];
const EFFORTS = ["minimal", "low", "medium", "high"];

export function Options({ chat, onClose }) {
  const [session] = useState(chat.isNew ? null : chat.sessionId); // another one may be shown behind it meanwhile
  const [had] = useState(chat.options);
  const [model, setModel] = useState(Array.isArray(had.model) ? had.model.join(", ") : (had.model ?? ""));
  const [prompt, setPrompt] = useState(had.system_prompt ?? "");
  const [params, setParams] = useState(had.params);
  const [unsaved, setUnsaved] = useState(false);
  const [saving, setSaving] = useState(false);
  const [problem, setProblem] = useState(null);
  // Fields of numbers are not written to while one types: `0.` is no number yet, and would lose its point.
  const set = (name, value) => setParams(({ [name]: _, ...others }) => (value === "" ? others : { ...others, [name]: value }));
  const save = async (event) => {
    event.preventDefault();
    const dialog = event.target.closest("dialog");
    const names = model.split(",").map((name) => name.trim()).filter(Boolean);
    setSaving(true);
    try {
      await chat.setOptions(session, { model: names.length > 1 ? names : (names[0] ?? null), system_prompt: prompt.trim() ? prompt : null, params });
      dialog.close();
    } catch (failed) {
      setProblem(failed);
    }
    setSaving(false);
  };
  return html`
    <${Dialog} title="Model and instructions" unsaved=${unsaved} onClose=${onClose}>
      <form onSubmit=${save} onInput=${() => setUnsaved(true)}>
        <${Model} value=${model} models=${chat.models} onChange=${setModel} />
        <label>
          <span>Instructions</span>
          <textarea rows="4" dir="auto" value=${prompt} placeholder="What the model is told before every message of this chat" onInput=${({ target }) => setPrompt(target.value)} />
        </label>
        <div class="pair">
          ${NUMBERS.map(({ name, label, hint, ...limits }) => html`
            <label key=${name}>
              <span>${label}</span>
              <input type="number" inputmode="decimal" placeholder=${hint} defaultValue=${had.params[name]} ...${limits}
                onInput=${({ target }) => set(name, target.value === "" ? "" : target.valueAsNumber)} />
            </label>`)}
          <label>
            <span>Reasoning</span>
            <select value=${params.reasoning_effort ?? ""} onChange=${({ target }) => set("reasoning_effort", target.value)}>
              <option value="">As the model does</option>
              ${EFFORTS.map((effort) => html`<option key=${effort} value=${effort}>${effort}</option>`)}
            </select>
          </label>
        </div>
        <p class="note">They hold for the next replies of this chat. What is empty is left to the model.</p>
        ${problem && html`<p class="note wrong" role="alert">It is not saved: ${wordsOf(problem)}</p>`}
        <div class="actions">
          <button type="button" onClick=${({ target }) => target.closest("dialog").close()}>Cancel</button>
          <button type="submit" class="primary" disabled=${saving}>Save</button>
        </div>
      </form>
    <//>
  `;
}

/** A list of what the server offers, and of what the session names though the server does not (any more). */
function Model({ value, models, onChange }) {
  const standard = models.find((model) => model.default)?.id ?? "";
  const names = models.map(({ id }) => id);
  return html`
    <label>
      <span>Model</span>
      <select data-first value=${value} onChange=${({ target }) => onChange(target.value)}>
        <option value="">${standard ? `${standard} (the server's choice)` : "The server's choice"}</option>
        ${[...new Set([...names, value].filter(Boolean))].map((name) => html`<option key=${name} value=${name}>${name}</option>`)}
      </select>
    </label>
  `;
}
