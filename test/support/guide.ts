/** The pages of the guide, which are programs (see `test/programs/docs.test.ts`). */
export const guide = [
  "first-tool",
  "background",
  "duplicates",
  "cancellation",
  "steering",
  "layers",
  "handing-over",
  "tools-from-elsewhere",
  "testing",
  "models",
  "events",
  "content",
  "telemetry",
  "mistakes"
]
