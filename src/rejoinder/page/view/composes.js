/** Whether a key belongs to an input method, which may want Enter and Escape for itself. Safari tells by 229 alone. */
export const composes = ({ isComposing, keyCode }) => isComposing || keyCode === 229;
