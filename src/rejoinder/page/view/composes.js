/** Whether a key belongs to an input method, which may want Enter and Escape for itself. Safari tells by 229 alone. */
export const composes = ({ isComposing, keyCode }) => isComposing || keyCode === 229;

/** Whether one does not write with fingers alone. */
export const hovers = () => matchMedia("(hover: hover)").matches;

/** Whether Enter makes a new line. Fingers have no Shift to hold with it. */
export const breaksLine = ({ shiftKey, ctrlKey, metaKey }) => shiftKey || !(ctrlKey || metaKey || hovers());
