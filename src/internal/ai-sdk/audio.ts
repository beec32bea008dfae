/**
 * Sound as the AI SDK's models take and give it: whole files.
 */
import type { AudioFrame } from "../../voice/Audio.js"

export interface Sound {
  readonly samples: Int16Array
  readonly sampleRate: number
}

const textAt = (bytes: DataView, at: number, length = 4): string => {
  let out = ""
  for (let i = at; i < at + length && i < bytes.byteLength; i++) out += String.fromCharCode(bytes.getUint8(i))
  return out
}

const kilobits: Record<"first" | "second", ReadonlyArray<number>> = {
  first: [0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320],
  second: [0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160]
}
const hertz = [44_100, 48_000, 32_000]

/** How many bytes the frame of MP3 or AAC has that begins here; undefined: none does. */
const lengthOfFrame = (bytes: DataView, at: number): number | undefined => {
  if (at + 6 > bytes.byteLength || bytes.getUint16(at) >>> 5 !== 0x7ff) return undefined
  const header = bytes.getUint32(at)
  const layer = (header >>> 17) & 3
  // AAC says it itself
  if (layer === 0) return (bytes.getUint32(at + 2) >>> 5) & 0x1fff
  if (layer !== 1) return undefined
  const version = (header >>> 19) & 3
  const frequency = hertz[(header >>> 10) & 3]
  const rate = kilobits[version === 3 ? "first" : "second"][(header >>> 12) & 15]
  if (version === 1 || frequency === undefined || rate === undefined || rate === 0) return undefined
  const divided = version === 3 ? frequency : version === 2 ? frequency / 2 : frequency / 4
  return Math.floor(((version === 3 ? 144_000 : 72_000) * rate) / divided) + ((header >>> 9) & 1)
}

/** Raw sound may begin like a frame by chance; that another one follows it, or nothing, is no chance. */
const isFrames = (bytes: DataView): boolean => {
  const length = lengthOfFrame(bytes, 0)
  if (length === undefined || length < 7) return false
  return length === bytes.byteLength || lengthOfFrame(bytes, length) !== undefined
}

/** What other files begin with: they would be noise as samples. */
const foreign: ReadonlyArray<readonly [name: string, is: (bytes: DataView) => boolean]> = [
  ["an MP3 file", (bytes) => textAt(bytes, 0, 3) === "ID3"],
  ["an MP3 or AAC file", isFrames],
  ["an Ogg file", (bytes) => textAt(bytes, 0) === "OggS"],
  ["a FLAC file", (bytes) => textAt(bytes, 0) === "fLaC"],
  ["a WebM file", (bytes) => bytes.byteLength >= 4 && bytes.getUint32(0) === 0x1a45dfa3],
  ["an MP4 file", (bytes) => textAt(bytes, 4) === "ftyp"],
  ["text", (bytes) => /^(?:\{"|<!|<\?|<ht)/i.test(textAt(bytes, 0))]
]

/** The samples of raw sound, 16 bits each, the low byte first; half a sample at the end is left out. */
const samplesOf = (bytes: DataView): Int16Array => {
  const samples = new Int16Array(bytes.byteLength >> 1)
  for (let i = 0; i < samples.length; i++) samples[i] = bytes.getInt16(i * 2, true)
  return samples
}

const clamped = (value: number): number => Math.max(-32_768, Math.min(32_767, Math.round(value)))

/** How to read one sample of a WAV file, in the range of 16 bits. */
const readers: Record<string, (bytes: DataView, at: number) => number> = {
  "1:8": (bytes, at) => (bytes.getUint8(at) - 128) * 256,
  "1:16": (bytes, at) => bytes.getInt16(at, true),
  "1:24": (bytes, at) => ((bytes.getInt8(at + 2) << 16) | bytes.getUint16(at, true)) / 256,
  "1:32": (bytes, at) => bytes.getInt32(at, true) / 65_536,
  "3:32": (bytes, at) => bytes.getFloat32(at, true) * 32_767,
  "3:64": (bytes, at) => bytes.getFloat64(at, true) * 32_767
}

const extensible = 0xfffe

/** The sound of a WAV file, its channels mixed into one, or what is wrong with it. */
const readWav = (bytes: DataView): Sound | string => {
  let at = 12
  let format:
    | { readonly key: string; readonly channels: number; readonly rate: number; readonly width: number }
    | undefined
  while (at + 8 <= bytes.byteLength) {
    const id = textAt(bytes, at)
    const size = bytes.getUint32(at + 4, true)
    const body = at + 8
    if (id === "fmt " && body + 16 <= bytes.byteLength) {
      const tag = bytes.getUint16(body, true)
      const kind = tag === extensible && body + 26 <= bytes.byteLength ? bytes.getUint16(body + 24, true) : tag
      const bits = bytes.getUint16(body + 14, true)
      format = {
        key: `${kind}:${bits}`,
        channels: bytes.getUint16(body + 2, true),
        rate: bytes.getUint32(body + 4, true),
        width: bits >> 3
      }
    } else if (id === "data") {
      if (format === undefined) return "a WAV file without a format"
      const read = readers[format.key]
      if (read === undefined) return `a WAV file of the format ${format.key}, not of samples`
      if (format.channels === 0 || format.rate === 0) return "a WAV file without channels or without a rate"
      // a file that was written as a stream does not know how long it is
      const length = Math.min(size, bytes.byteLength - body)
      const { channels, rate, width } = format
      const samples = new Int16Array(Math.floor(length / (width * channels)))
      for (let i = 0; i < samples.length; i++) {
        let sum = 0
        for (let c = 0; c < channels; c++) sum += read(bytes, body + (i * channels + c) * width)
        samples[i] = clamped(sum / channels)
      }
      return { samples, sampleRate: rate }
    }
    at = body + size + (size % 2)
  }
  return "a WAV file without sound"
}

const viewOf = (audio: unknown): DataView | string => {
  if (audio instanceof Uint8Array) return new DataView(audio.buffer, audio.byteOffset, audio.byteLength)
  if (typeof audio !== "string") return "no sound"
  try {
    const binary = atob(audio)
    return new DataView(Uint8Array.from(binary, (char) => char.charCodeAt(0)).buffer)
  } catch {
    return "text that is not base64"
  }
}

/** The sound of a file, or what it is instead. Without a rate there is no raw sound. */
export const decode = (audio: unknown, rawRate: number | undefined): Sound | string => {
  const bytes = viewOf(audio)
  if (typeof bytes === "string") return bytes
  if (textAt(bytes, 0) === "RIFF" && textAt(bytes, 8) === "WAVE") return readWav(bytes)
  const other = foreign.find(([, is]) => is(bytes))
  if (other !== undefined) return other[0]
  return rawRate === undefined ? "no WAV file" : { samples: samplesOf(bytes), sampleRate: rawRate }
}

/** Sound in frames. */
export const framesOf = ({ sampleRate, samples }: Sound, millis: number): ReadonlyArray<AudioFrame> => {
  const size = Math.max(1, Math.round((sampleRate * millis) / 1000))
  const frames: Array<AudioFrame> = []
  for (let at = 0; at < samples.length; at += size)
    frames.push({ samples: samples.subarray(at, at + size), sampleRate })
  return frames
}

/** A WAV file of frames of one rate. */
export const encode = (frames: ReadonlyArray<AudioFrame>): Uint8Array => {
  const sampleRate = frames[0]?.sampleRate ?? 16_000
  const length = frames.reduce((sum, { samples }) => sum + samples.length, 0)
  const bytes = new DataView(new ArrayBuffer(44 + length * 2))
  const write = (at: number, text: string): void => {
    for (let i = 0; i < text.length; i++) bytes.setUint8(at + i, text.charCodeAt(i))
  }
  write(0, "RIFF")
  bytes.setUint32(4, 36 + length * 2, true)
  write(8, "WAVEfmt ")
  bytes.setUint32(16, 16, true)
  bytes.setUint16(20, 1, true)
  bytes.setUint16(22, 1, true)
  bytes.setUint32(24, sampleRate, true)
  bytes.setUint32(28, sampleRate * 2, true)
  bytes.setUint16(32, 2, true)
  bytes.setUint16(34, 16, true)
  write(36, "data")
  bytes.setUint32(40, length * 2, true)
  let at = 44
  for (const { samples } of frames) {
    for (const sample of samples) {
      bytes.setInt16(at, sample, true)
      at += 2
    }
  }
  return new Uint8Array(bytes.buffer)
}
