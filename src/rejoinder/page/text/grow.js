/**
 * A part of the page that grows: what is there stays as the elements that it is, so that a selection in it, the focus and
 * how far it was scrolled outlive every word that is added. Only what changed is put in, and that is nearly always the end.
 */

/** Makes `place`, which shows `had`, show `fresh`. What shows it may be dressed: `had` and `fresh` tell how it was before. */
export function grow(place, had, fresh) {
  const [before, after] = [[...had.childNodes], [...fresh.childNodes]];
  for (const [index, node] of after.entries()) {
    const old = before[index];
    const shown = place.childNodes[index];
    if (old?.isEqualNode(node)) continue;
    if (!old || !shown) place.append(node.cloneNode(true));
    else if (old.nodeType === Node.TEXT_NODE && node.nodeType === Node.TEXT_NODE) write(shown, node.data);
    else if (grows(old, node)) grow(shown, old, node);
    else shown.replaceWith(node.cloneNode(true));
  }
  while (place.childNodes.length > after.length) place.lastChild.remove();
}

/** Whether an element became another only by what is in it. What is in code is dressed. */
const grows = (old, node) => node.localName && node.localName !== "code" && old.cloneNode().isEqualNode(node.cloneNode());

/** Changes a text from where it differs. */
function write(shown, text) {
  let same = 0;
  while (same < text.length && shown.data[same] === text[same]) same++;
  shown.replaceData(same, shown.data.length - same, text.slice(same));
}
