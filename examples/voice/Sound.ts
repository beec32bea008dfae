/**
 * Sound as samples: other rates, WAV files, and what of it can be heard.
 */

/** What the detector and the recogniser are made for. */
export const earRate = 16_000

export const resample = (samples: Int16Array, from: number, to: number): Int16Array => {
  if (from === to) return samples
  const out = new Int16Array(Math.floor((samples.length * to) / from))
  for (let i = 0; i < out.length; i++) {
    const at = (i * from) / to
    const k = Math.floor(at)
    const [here, next] = [samples[k] ?? 0, samples[k + 1] ?? 0]
    out[i] = Math.round(here + (next - here) * (at - k))
  }
  return out
}

/** Without the silence around it, so that its beginning and its end are those of the voice. */
export const trimmed = (samples: Int16Array, threshold = 500): Int16Array => {
  const loud = (sample: number): boolean => Math.abs(sample) > threshold
  const from = samples.findIndex(loud)
  return from < 0 ? new Int16Array(0) : samples.slice(from, samples.findLastIndex(loud) + 1)
}

export interface Wav {
  readonly samples: Int16Array
  readonly rate: number
}

/** Where the samples of a WAV file begin, and their rate; undefined: the head is not complete yet. */
export const headOf = (bytes: Buffer): { readonly at: number; readonly rate: number } | undefined => {
  const at = bytes.indexOf("data")
  return at < 0 || at + 8 > bytes.length ? undefined : { at: at + 8, rate: bytes.readUInt32LE(24) }
}

export const samplesOf = (bytes: Buffer): Int16Array => {
  const samples = new Int16Array(bytes.length >> 1)
  for (let i = 0; i < samples.length; i++) samples[i] = bytes.readInt16LE(i * 2)
  return samples
}

export const readWav = (bytes: Buffer): Wav => {
  const head = headOf(bytes)
  return head === undefined
    ? { samples: new Int16Array(0), rate: earRate }
    : { samples: samplesOf(bytes.subarray(head.at)), rate: head.rate }
}

/** A WAV file of two channels. */
export const writeWav = (left: Int16Array, right: Int16Array, rate: number): Buffer => {
  const length = Math.max(left.length, right.length)
  const bytes = Buffer.alloc(44 + length * 4)
  bytes.write("RIFF")
  bytes.writeUInt32LE(36 + length * 4, 4)
  bytes.write("WAVEfmt ", 8)
  bytes.writeUInt32LE(16, 16)
  bytes.writeUInt16LE(1, 20)
  bytes.writeUInt16LE(2, 22)
  bytes.writeUInt32LE(rate, 24)
  bytes.writeUInt32LE(rate * 4, 28)
  bytes.writeUInt16LE(4, 32)
  bytes.writeUInt16LE(16, 34)
  bytes.write("data", 36)
  bytes.writeUInt32LE(length * 4, 40)
  for (let i = 0; i < length; i++) {
    bytes.writeInt16LE(left[i] ?? 0, 44 + i * 4)
    bytes.writeInt16LE(right[i] ?? 0, 46 + i * 4)
  }
  return bytes
}
