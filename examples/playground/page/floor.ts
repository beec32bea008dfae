/**
 * Whether the user has the floor on this page: while the button is pressed, and while something is being typed.
 */
import { useEffect, useRef, useState } from "react"
import * as Live from "./live.js"

/** What is typed holds the floor for so long after the last key. */
const idle = 10_000
/** So often the server is told that the floor is still held; it gives one up that nobody holds. */
const beat = 5_000

export interface Floor {
  readonly pressed: boolean
  readonly press: (text: string) => void
  /** a key was pressed, and this is in the field now */
  readonly type: (text: string) => void
  /** what was typed was sent, and with it the floor was given back */
  readonly sent: () => void
}

export const useFloor = (conversation: string): Floor => {
  const [pressed, setPressed] = useState(false)
  const [typing, setTyping] = useState(false)
  const [keys, setKeys] = useState(0)
  const text = useRef("")
  const held = pressed || typing

  // what is typed in one conversation holds nothing in another one
  // biome-ignore lint/correctness/useExhaustiveDependencies: it begins anew with each conversation
  useEffect(
    () => () => {
      setPressed(false)
      setTyping(false)
    },
    [conversation]
  )
  useEffect(() => {
    if (!held) return
    const timer = setInterval(() => void Live.speak(text.current), beat)
    return () => clearInterval(timer)
  }, [held])
  // biome-ignore lint/correctness/useExhaustiveDependencies: each key counts anew
  useEffect(() => {
    if (!typing) return
    const timer = setTimeout(() => {
      setTyping(false)
      if (!pressed) void Live.hush()
    }, idle)
    return () => clearTimeout(timer)
  }, [typing, pressed, keys])

  return {
    pressed,
    press: (now) => {
      text.current = now
      setPressed(!pressed)
      setTyping(false)
      void (pressed ? Live.hush() : Live.speak(now))
    },
    type: (now) => {
      text.current = now
      const some = now.trim() !== ""
      setTyping(some)
      setKeys((keys) => keys + 1)
      if (some || pressed) void Live.speak(now)
      else if (held) void Live.hush()
    },
    sent: () => {
      text.current = ""
      setPressed(false)
      setTyping(false)
    }
  }
}
