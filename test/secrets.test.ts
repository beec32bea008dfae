/**
 * What looks like a key is not shown, and what does not stays as it is. All keys here are made up.
 */
import { describe, expect, it } from "@effect/vitest"
import { FastCheck as fc } from "effect"
import { redact } from "../src/internal/model/errors.js"

const hidden = "<redacted>"

/** Pieces that no scanner takes for a whole key: they are put together here. */
const random = "Zk3Qm9Lx7Vb2Nt5Rw8Yc4Hd6Jf1Gs0Pa"
const hex = "9f86d081884c7d659a2feaa0c55ad015"

const keys: Record<string, string> = {
  OpenAI: `sk-${random}${random.slice(0, 16)}`,
  "OpenAI, of a project": `sk-proj-${random}_${random}-x`,
  "OpenAI, of a service": `sk-svcacct-${random}`,
  "OpenAI, masked": "sk-abcd************************wxyz",
  Anthropic: `sk-ant-api03-${random}-${random}_AA`,
  OpenRouter: `sk-or-v1-${hex}${hex}`,
  xAI: `xai-${random}${random}`,
  Groq: `gsk_${random}${random.slice(0, 20)}`,
  Perplexity: `pplx-${random}${random.slice(0, 16)}`,
  "Hugging Face": `hf_${random}ab`,
  Replicate: `r8_${random}abcde`,
  Fireworks: `fw_${random.slice(0, 24)}`,
  Cerebras: `csk-${random}`,
  NVIDIA: `nvapi-${random}-${random}`,
  Together: `tgp_v1_${random}`,
  "GitHub, classic": `ghp_${random}abcd`,
  "GitHub, of an app": `ghs_${random}abcd`,
  "GitHub, fine-grained": `github_pat_11ABCDEFG0${random}_${random}${random.slice(0, 27)}`,
  GitLab: `glpat-${random.slice(0, 20)}`,
  "Slack, a bot's": `xoxb-123456789012-1234567890123-${random.slice(0, 24)}`,
  "Slack, a user's": `xoxp-123456789012-123456789012-${hex}`,
  "Slack, an app's": `xapp-1-A0123456789-1234567890123-${hex}`,
  "Google, an API's": `AIza${random}xyz`,
  "Google, a user's": `ya29.a0Af${random}_${random}`,
  "AWS, its id": "AKIAIOSFODNN7EXAMPLE",
  "AWS, its id for a while": "ASIAIOSFODNN7EXAMPLE",
  Stripe: `sk_live_${random.slice(0, 24)}`,
  "Stripe, restricted": `rk_test_${random.slice(0, 24)}`,
  SendGrid: `SG.${random.slice(0, 22)}.${random}abcdefghijk`,
  npm: `npm_${random}abcd`,
  "a signed token": `eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.${random}-_${random.slice(0, 8)}`,
  "a signed token without a signature": "eyJhbGciOiJub25lIn0.eyJzdWIiOiIxMjM0NTY3ODkwIn0."
}

const sentences: ReadonlyArray<(key: string) => string> = [
  (key) => key,
  (key) => `Incorrect API key provided: ${key}. You can find your key in the settings.`,
  (key) => `The key (${key}) is not valid.`,
  (key) => `"${key}"`,
  (key) => `{"error":{"message":"no such key '${key}'","code":401}}`,
  (key) => `found ${key}, but expected another`,
  (key) => `first line\n${key}\nlast line`,
  (key) => `https://api.test/v1/models/x:generate?alt=sse&k=${key}`
]

describe("a key", () => {
  for (const [name, key] of Object.entries(keys)) {
    it(`[F7] ${name}: is not shown, in whatever sentence`, () => {
      for (const sentence of sentences) {
        const shown = redact(sentence(key))
        expect(shown).toContain(hidden)
        for (const part of key.split(/[.]/)) if (part.length > 6) expect(shown).not.toContain(part.slice(-6))
        // what stands around it stays
        for (const word of sentence("").match(/[a-z]{4,}/g) ?? []) expect(shown).toContain(word)
      }
    })
  }

  it("[F7] any of these, between any words", () => {
    const word = fc.constantFrom(
      "the",
      "model",
      "token",
      "password",
      "said",
      "key",
      "of",
      "is",
      "(1)",
      "–",
      "…",
      "🧭",
      "\n"
    )
    const words = fc.array(word, { maxLength: 6 }).map((list) => list.join(" "))
    fc.assert(
      fc.property(words, fc.constantFrom(...Object.values(keys)), words, (before, key, after) => {
        const shown = redact(`${before} ${key} ${after}`)
        expect(shown).not.toContain(key.slice(-8))
        expect(redact(shown)).toBe(shown)
      })
    )
  })
})

/** Each has `hunter2` where the secret is, or another that is named. */
const named: ReadonlyArray<readonly [string, string, string?]> = [
  ["Authorization: Bearer hunter2", `Authorization: ${hidden}`],
  ["authorization: Basic dXNlcjpodW50ZXIy", `authorization: ${hidden}`, "dXNl"],
  ["sent with Bearer hunter2-abcdef to the server", `sent with Bearer ${hidden} to the server`],
  ["Basic dXNlcjpodW50ZXIy was refused", `Basic ${hidden} was refused`, "dXNl"],
  ["bearer a1b2c3d4e5f6 was refused", `bearer ${hidden} was refused`, "a1b2"],
  ["x-api-key: hunter2\nhost: models.test", `x-api-key: ${hidden}\nhost: models.test`],
  ['{"api_key": "hunter2", "n": 1}', `{"api_key": "${hidden}", "n": 1}`],
  ['{"apiKey":"hunter2"}', `{"apiKey":"${hidden}"}`],
  ['{"password":"hunter2 and \\"more\\"","n":1}', `{"password":"${hidden}","n":1}`, "more"],
  ['{\\"client_secret\\":\\"hunter2\\",\\"n\\":1}', `{\\"client_secret\\":\\"${hidden}\\",\\"n\\":1}`],
  ["{'access_token': 'hunter2'}", `{'access_token': '${hidden}'}`],
  ['{"set-cookie":["hunter2=1; Path=/"]}', `{"set-cookie":["${hidden}"]}`],
  ["Cookie: session=hunter2; other=hunter2", `Cookie: ${hidden}`],
  ["Set-Cookie: id=hunter2; Secure\nnext", `Set-Cookie: ${hidden}\nnext`],
  ["api_key=hunter2&x=1", `api_key=${hidden}&x=1`],
  ["the password is: hunter2", `the password is: ${hidden}`],
  ["Incorrect API key provided: hunter2.", `Incorrect API key provided: ${hidden}`],
  ["access key: hunter2", `access key: ${hidden}`],
  ["OPENAI_API_KEY=hunter2 node .", `OPENAI_API_KEY=${hidden} node .`],
  ["GROQ_KEY=hunter2", `GROQ_KEY=${hidden}`],
  ["aws_secret_access_key = hunter2/K7MDENG+bPx", `aws_secret_access_key = ${hidden}`, "MDENG"],
  ["AccountName=a;AccountKey=hunter2==;x", `AccountName=a;AccountKey=${hidden};x`],
  ["//registry.test/:_authToken=hunter2", `//registry.test/:_authToken=${hidden}`],
  ["https://user:hunter2@models.test/v1", `https://${hidden}@models.test/v1`],
  ["postgres://me:p@hunter2@db.test:5432/x", `postgres://${hidden}@db.test:5432/x`],
  ["redis://:hunter2@cache.test", `redis://${hidden}@cache.test`],
  ["https://models.test/v1?key=hunter2&alt=sse", `https://models.test/v1?key=${hidden}&alt=sse`],
  ["https://models.test/cb?code=hunter2#x", `https://models.test/cb?code=${hidden}#x`],
  [
    "https://b.test/o?X-Amz-Signature=hunter2&X-Amz-Expires=60",
    `https://b.test/o?X-Amz-Signature=${hidden}&X-Amz-Expires=60`
  ],
  ["https://b.test/o?sig=hunter2", `https://b.test/o?sig=${hidden}`],
  ["POST https://hooks.slack.com/services/T0/B0/hunter2 failed", `POST https://hooks.slack.com/${hidden} failed`],
  ["-----BEGIN RSA PRIVATE KEY-----\nhunter2\nhunter2\n-----END RSA PRIVATE KEY-----\nafter", `${hidden}\nafter`],
  ["x -----BEGIN PRIVATE KEY-----\nhunter2", `x ${hidden}`]
]

describe("a secret with a name", () => {
  for (const [text, shown, secret = "hunter2"] of named) {
    it(`[F7] ${JSON.stringify(text)}`, () => {
      expect(redact(text)).toBe(shown)
      expect(redact(text)).not.toContain(secret)
      expect(redact(shown)).toBe(shown)
    })
  }
})

const untouched: ReadonlyArray<string> = [
  "",
  "The model failed.",
  "gpt-4o-2024-08-06",
  "claude-sonnet-4-5-20250929 and models/gemini-2.5-flash-preview-09-2025, meta-llama/Llama-3.3-70B-Instruct-Turbo",
  "No such model: us.anthropic.claude-3-5-sonnet-20241022-v2:0",
  "request 123e4567-e89b-12d3-a456-426614174000 failed",
  `The checksum is ${hex}${hex}, not ${hex}.`,
  "commit ea9d11eab9e9a1b2c3d4e5f60718293a4b5c6d7e",
  "call_Zk3Qm9Lx7Vb2Nt5Rw8Yc4Hd6 toolu_01A09q90qw90lq917835lq9 chatcmpl-9f86d081884c7d659a2f req_011CSHoEeqs5C35K2UUqR7Fy",
  "resp_0a1b2c3d4e5f60718293 msg_01XFDUDYJgAACzvnptvVoYEL fc_9f86d081884c7d65 item_18446744073709552000",
  "Donaudampfschifffahrtsgesellschaftskapitaensmuetze",
  "/home/user/projects/sk-learn/src/index.ts:12:34",
  "C:\\Users\\me\\AppData\\Local\\key_bindings.json",
  "node_modules/hf_hub_download/hf_transfer.py, npm_config_registry, key_insights, key-value-pairs, pk_orders_customer_id",
  "Unexpected token < in JSON at position 0",
  'Unexpected token: "}"',
  "Unexpected end of JSON input; expected a token",
  "This model's maximum context length is 8192 tokens, but you asked for 9000 tokens (8000 in the messages).",
  "max_tokens: 4096, total_tokens=812, tokens: 12",
  "Forgot your password? Ask for a new one. A password must have eight characters.",
  "The token has expired. Your token is invalid: it was made yesterday.",
  "The password: it is not the right one.",
  "The secret of the house is its garden.",
  "1 token = 4 characters",
  "Bearer token is missing. Bearer authentication is required.",
  "Basic authentication is off; a basic understanding of JavaScript; the bearer of bad news",
  "authorization: required",
  '{"token": null, "password": false}',
  "https://models.test/v1/chat?api-version=2024-10-21&alt=sse&limit=20",
  "https://models.test:8080/v1/@scope/name?x=1",
  "write to someone@example.com",
  "a ? b : c && d = e",
  "export PWD=/home/user",
  "The tokenizer: it splits words. A keyboard: it has keys. Monkey: an animal.",
  "sk, pk, sk-, ghp_, AKIA, AIza, eyJ, Bearer, Basic, ya29., SG., gsk_",
  "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----",
  "🧭 …… – ¿dónde? 東京"
]

describe("what is no secret", () => {
  for (const text of untouched) {
    it(`[F7] stays: ${JSON.stringify(text).slice(0, 60)}`, () => expect(redact(text)).toBe(text))
  }

  it("[F7] any text of ordinary words, and what is no text", () => {
    const word = fc.stringMatching(/^[a-z]{1,12}$/)
    fc.assert(
      fc.property(fc.array(word), (words) => {
        const text = words.join(" ")
        expect(redact(text)).toBe(text)
      })
    )
    for (const value of [undefined, null, 5n, {}, Symbol("s")]) expect(redact(value as never)).toBe("")
  })

  it("[F7] any text at all: twice is the same as once", () => {
    const piece = fc.oneof(
      fc.string(),
      fc.constantFrom(
        "token",
        "api_key",
        "Bearer",
        "Basic",
        "://",
        "@",
        "?",
        "&",
        "=",
        ":",
        '"',
        "\\",
        "'",
        " ",
        "cookie"
      ),
      fc.constantFrom(...Object.values(keys))
    )
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 12 }), (pieces) => {
        const once = redact(pieces.join(""))
        for (const key of Object.values(keys)) if (key.length > 30) expect(once).not.toContain(` ${key} `)
        expect(redact(once)).toBe(once)
      }),
      { numRuns: 500 }
    )
  })
})

// ---------------------------------------------------------------------------------------------------------------- work

/** At how many characters a pattern without a match has looked, at most. */
const looked = (pattern: RegExp, text: string, from: number): number => {
  if (!pattern.sticky) return text.length - from
  // one or more of a class fails at the first character
  if (!pattern.source.includes("]*")) return 1
  // what may look further ends at a blank or at a slash
  let to = from + 3
  while (to < text.length && !" \n/".includes(text[to] as string)) to++
  return to - from
}

/** How often a pattern is tried while this runs, and how many characters those tries took. */
const counted = (body: () => void): { tries: number; characters: number } => {
  const { exec } = RegExp.prototype
  const count = { tries: 0, characters: 0 }
  RegExp.prototype.exec = function (this: RegExp, text: string) {
    const from = this.global || this.sticky ? this.lastIndex : 0
    const match = exec.call(this, text)
    count.tries++
    count.characters += match === null ? looked(this, text, from) : match.index - from + match[0].length
    return match
  }
  try {
    body()
  } finally {
    RegExp.prototype.exec = exec
  }
  return count
}

describe("a hostile text", () => {
  const shapes: Record<string, string> = {
    "one long word": "a",
    "one long word with hyphens": "a-",
    "a word with dots": "a.",
    "beginnings of keys": "sk-",
    "beginnings of keys with breaks": "sk-a-",
    "beginnings of other keys": "ghp_",
    "beginnings of signed tokens": "eyJ-",
    "beginnings of signed tokens with dots": "eyJ.",
    "names of secrets": "token",
    "names with values": "token=",
    "names with folders": "pwd=/",
    "names with colons": "password:",
    "names with quotes": 'token:"',
    "names with escaped quotes": 'token:\\"',
    "names with blanks": "token ",
    "names with many blanks": `token${" ".repeat(50)}`,
    "names with nothing": "token:null,",
    cookies: "cookie:",
    "cookies in quotes": "cookie:'",
    schemes: "bearer ",
    "schemes with values": "Basic a",
    "authorization without end": "authorization: a ",
    addresses: "a://",
    "addresses with users": "a://b:",
    "addresses in addresses": "a://b@",
    parameters: "?a=",
    "parameters of parameters": "&key=?",
    questions: "?",
    blanks: " ",
    "line feeds": "\n",
    backslashes: "\\",
    quotes: '"',
    "private keys": "-----BEGIN PRIVATE KEY-----",
    "no private keys": "-----BEGIN ",
    webhooks: "hooks.slack.com/services/",
    masks: "*"
  }
  for (const [name, shape] of Object.entries(shapes)) {
    it(`[F7] ${name}: twice the text is no more than twice the work`, () => {
      const of = (size: number) => shape.repeat(Math.ceil(size / shape.length)).slice(0, size)
      const small = counted(() => redact(of(50_000)))
      const large = counted(() => redact(of(100_000)))
      expect(large.tries).toBeLessThanOrEqual(2 * small.tries + 50)
      expect(large.characters).toBeLessThanOrEqual(2.1 * small.characters + 1_000)
      expect(large.characters).toBeLessThan(40 * 100_000)
      expect(redact(of(100_000)).length).toBeLessThanOrEqual(20 * 100_000)
    })
  }

  it("[F7] megabytes of it do not exhaust the stack", () => {
    for (const shape of ["a.", "eyJ-", "token=", '"', "sk-a-"]) {
      expect(() => redact(shape.repeat(300_000))).not.toThrow()
    }
  })
})
