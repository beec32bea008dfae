import type { UIMessage } from "ai"
import { createRoot } from "react-dom/client"
import { Page } from "./Page.js"

const root = createRoot(document.getElementById("root") as HTMLElement)

/** The conversation of this visitor: its id, which lets nobody in, and what has been said. */
const begin = async (): Promise<void> => {
  const response = await fetch("/api/history")
  if (!response.ok) return root.render(<p>{await response.text()}</p>)
  const { id, messages } = (await response.json()) as { readonly id: string; readonly messages: Array<UIMessage> }
  root.render(<Page id={id} messages={messages} />)
}

void begin()
