/** Pictures on their way into a message: read, made small enough, and turned into the `data:` address that is sent. */

export const KINDS = ["image/png", "image/jpeg", "image/webp", "image/gif"];
/** Pixels of a side, and characters of an address, above which a picture is drawn anew. A body may have 8 MiB. */
const SIDE = 2048;
const LENGTH = 1_200_000;

/** The address of a picture of one of the KINDS. Throws an Error that says what is wrong with it. */
export async function addressOf(file) {
  const bitmap = await createImageBitmap(file).catch(() => {
    throw new Error(`“${file.name}” cannot be read as a picture.`);
  });
  const address = await read(file);
  const large = Math.max(bitmap.width, bitmap.height) > SIDE || address.length > LENGTH;
  return large ? smaller(bitmap) : address;
}

async function smaller(bitmap) {
  const canvas = document.createElement("canvas");
  for (let side = SIDE; ; side *= 0.7) {
    const scale = Math.min(1, side / Math.max(bitmap.width, bitmap.height));
    Object.assign(canvas, { width: Math.ceil(bitmap.width * scale), height: Math.ceil(bitmap.height * scale) });
    const pen = canvas.getContext("2d");
    pen.fillStyle = "#fff"; // JPEG knows nothing transparent
    pen.fillRect(0, 0, canvas.width, canvas.height);
    pen.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
    const address = canvas.toDataURL("image/jpeg", 0.85);
    if (address.length <= LENGTH || side < 200) return address;
  }
}

function read(file) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    Object.assign(reader, { onload: () => resolve(reader.result), onerror: () => reject(reader.error) });
    reader.readAsDataURL(file);
  });
}
