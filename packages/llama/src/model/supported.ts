/** Which models have a cache that can be folded. */
import type { RawModel } from "../native/addon.js";

/** `LLAMA_ROPE_TYPE_MROPE` and above: several positions a token. */
const SEVERAL_POSITIONS = 8;

/**
 * true, or the reason why not as a sentence. What only a context can tell (windowed layers, memory of a device) is told
 * by `LlamaContext.supported`.
 * @param metaNumber a number of the metadata by the key after the architecture
 */
export function modelSupported(raw: RawModel, metaNumber: (key: string) => number): true | string {
  if (raw.hasEncoder) return "the model has an encoder";
  if (!raw.hasDecoder) return "the model does not generate text";
  if (raw.recurrent) return "the model keeps a recurrent state instead of keys and values";
  if (raw.hybrid) return "the model keeps a recurrent state beside keys and values";
  if (raw.ropeType >= SEVERAL_POSITIONS)
    return "the model rotates keys by several positions a token (M-RoPE)";
  if (metaNumber("attention.key_length_mla") > 0) return "the model stores latent keys without values (MLA)";
  if (metaNumber("attention.max_alibi_bias") > 0) return "the model biases attention by distance (ALiBi)";
  return true;
}
