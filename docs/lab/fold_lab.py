"""Options of `refit`, tried by the hundred on a GPU: the formulas of the engine in PyTorch, on a GGUF model of the llama
architecture. It chooses nothing by itself and folds no live cache; what it suggests is measured again by `kvfold eval`.

    node docs/lab/write_tokens.mjs MODEL.gguf book.txt book.i32
    python3 docs/lab/fold_lab.py kl MODEL.gguf --tokens 2048 --windows 6 --out kl.jsonl book.i32 manual.i32
    node docs/lab/write_passkeys.mjs MODEL.gguf 4096 32 4711 cases.json book.txt junk
    python3 docs/lab/fold_lab.py passkey MODEL.gguf --out passkeys.jsonl cases.json
    python3 docs/lab/fold_lab.py summary kl.jsonl passkeys.jsonl

Needs torch, numpy and gguf (PyPI). Every window: the model reads `--tokens` tokens, each setting folds their cache at 4x
and 8x, and both caches read the next 256 tokens. Names of options are those of `refit` and `evict`, as far as they exist
there; `newest`, `byPlace`, `cap` and `stride` say how queries are sampled, `oracle` takes those of the next 256 tokens.
`by=both` is the geometric mean of mean and frms; with `restFirst` pins are chosen of what attention leaves over, and `heads`
is the share of heads that pin at all, those that attend most to what followed an earlier occurrence of their token.
"""
import argparse
import json
import math

import numpy as np
import torch
from gguf import GGUFReader, dequantize

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
WINDOW = 256
RATIOS = (4, 8)


class Model:
    """Weights in f32, keys and values rounded to f16 as in the cache."""

    def __init__(self, path):
        reader = GGUFReader(path)
        field = lambda key: reader.fields["llama." + key].contents()
        self.layers, self.heads = field("block_count"), field("attention.head_count")
        self.kv_heads, self.width = field("attention.head_count_kv"), field("embedding_length")
        self.dim, self.group = self.width // self.heads, self.heads // self.kv_heads
        self.epsilon = field("attention.layer_norm_rms_epsilon")
        weight = lambda t: torch.tensor(np.asarray(dequantize(t.data, t.tensor_type), dtype=np.float32)).to(DEVICE)
        self.weights = {tensor.name: weight(tensor) for tensor in reader.tensors}
        self.output = self.weights.get("output.weight", self.weights["token_embd.weight"])
        pairs = torch.arange(0, self.dim, 2, dtype=torch.float64)
        self.frequencies = (torch.tensor(field("rope.freq_base"), dtype=torch.float64) ** (-pairs / self.dim)).to(DEVICE)

    def rope(self, x, positions):
        """x: [..., tokens, dim], interleaved pairs; positions: [tokens]."""
        angle = positions.double()[..., None] * self.frequencies
        c, s = angle.cos().float(), angle.sin().float()
        a, b = x[..., 0::2], x[..., 1::2]
        return torch.stack((a * c - b * s, a * s + b * c), -1).flatten(-2)

    def norm(self, x, weight):
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.epsilon) * weight

    @torch.no_grad()
    def forward(self, tokens, positions, cache=None):
        """cache: by layer (keys, values), each [kv_heads, cells, dim]. Returns hidden states and queries, keys, values by layer."""
        count = len(tokens)
        x, seen = self.weights["token_embd.weight"][tokens], []
        causal = torch.ones(count, count, dtype=torch.bool, device=DEVICE).tril()
        for layer in range(self.layers):
            w = lambda name: self.weights[f"blk.{layer}.{name}.weight"]
            h = self.norm(x, w("attn_norm"))
            split = lambda y, heads: y.view(count, heads, self.dim).transpose(0, 1)
            q = self.rope(split(h @ w("attn_q").T, self.heads), positions)
            k = self.rope(split(h @ w("attn_k").T, self.kv_heads), positions).half().float()
            v = split(h @ w("attn_v").T, self.kv_heads).half().float()
            seen.append((q, k, v))
            keys, values, mask = k, v, causal
            if cache is not None:
                keys, values = torch.cat((cache[layer][0], k), 1), torch.cat((cache[layer][1], v), 1)
                mask = torch.cat((torch.ones(count, keys.shape[1] - count, dtype=torch.bool, device=DEVICE), causal), 1)
            scores = q.view(self.kv_heads, self.group, count, self.dim) @ keys[:, None].transpose(-1, -2)
            attention = torch.softmax((scores / math.sqrt(self.dim)).masked_fill(~mask, -math.inf), -1) @ values[:, None]
            x = x + attention.reshape(self.heads, count, self.dim).transpose(0, 1).reshape(count, -1) @ w("attn_output").T
            h = self.norm(x, w("ffn_norm"))
            x = x + (torch.nn.functional.silu(h @ w("ffn_gate").T) * (h @ w("ffn_up").T)) @ w("ffn_down").T
        return self.norm(x, self.weights["output_norm.weight"]), seen

    def log_probabilities(self, hidden):
        return torch.log_softmax(hidden @ self.output.T, -1)


def ranks(scores, free):
    """Ranks in [0, 1] among the free cells; others 0."""
    out = torch.zeros_like(scores)
    out[..., free] = scores[..., free].argsort(-1).argsort(-1).float() / max(1, len(free) - 1)
    return out


def pooled(scores, distance):
    if distance == 0:
        return scores
    flat = scores.reshape(-1, 1, scores.shape[-1])
    return torch.nn.functional.max_pool1d(flat, 2 * distance + 1, 1, distance).view(scores.shape)


def in_turns(a, b):
    """a0 b0 a1 b1 .., then what is left of the longer one."""
    both = min(len(a), len(b))
    return np.concatenate((np.stack((a[:both], b[:both]), 1).reshape(-1), a[both:], b[both:]))


class Context:
    """What all settings share: cache, queries, scores. H: layers x KV heads."""

    @torch.no_grad()
    def __init__(self, model, tokens, following):
        self.model, self.cells = model, len(tokens)
        read = torch.tensor(tokens, device=DEVICE, dtype=torch.long)
        hidden, seen = model.forward(read, torch.arange(self.cells, device=DEVICE))
        self.keys = torch.stack([k for _, k, _ in seen]).flatten(0, 1)  # [H, cells, dim]
        self.values = torch.stack([v for _, _, v in seen]).flatten(0, 1)
        self.all_queries = torch.stack([q for q, _, _ in seen]).view(-1, model.group, self.cells, model.dim)
        surprise = torch.full((self.cells,), -1.0, device=DEVICE)
        for i in range(0, self.cells - 1, 512):
            end = min(self.cells - 1, i + 512)
            expected = model.log_probabilities(hidden[i:end])
            surprise[i + 1 : end + 1] = -expected.gather(1, read[i + 1 : end + 1, None])[:, 0]
        self.surprise = surprise
        plain = torch.nn.functional.normalize(model.rope(self.keys, -torch.arange(self.cells, device=DEVICE)), dim=-1)
        mean = torch.nn.functional.normalize(plain.mean(1, keepdim=True), dim=-1)
        self.keydiff = -(plain * mean).sum(-1)
        self.induction = self.attention_to_what_followed(read)
        self.next = torch.tensor(following, device=DEVICE, dtype=torch.long)
        self.full, seen = self.read_on(self.keys, self.values)
        asked = torch.stack([q for q, _, _ in seen]).view(-1, model.group, len(following) - 1, model.dim)
        self.asked = (asked / math.sqrt(model.dim)).transpose(1, 2).reshape(len(self.keys), -1, model.dim)

    def attention_to_what_followed(self, read):
        """What a KV head pays, on average, to the cells after earlier occurrences of the token that asks."""
        place = torch.arange(self.cells, device=DEVICE)
        asking = place[self.cells // 2 :: max(1, self.cells // 512)][:256]
        before = torch.roll(read, 1)
        follows = (before[None] == read[asking][:, None]) & (place[None] < asking[:, None] - 16) & (place[None] > 0)
        some = follows.any(1)
        paid = torch.empty(len(self.keys), device=DEVICE)
        for i in range(0, len(self.keys), 15):
            scores = self.all_queries[i : i + 15][:, :, asking] @ self.keys[i : i + 15, None].transpose(-1, -2)
            scores = (scores / math.sqrt(self.model.dim)).masked_fill(place[None] > asking[:, None], -math.inf)
            paid[i : i + 15] = (torch.softmax(scores, -1) * follows).sum(-1)[:, :, some].mean(-1).amax(1)
        return paid.nan_to_num(0)

    def read_on(self, keys, values):
        m = self.model
        cache = [(keys[i : i + m.kv_heads], values[i : i + m.kv_heads]) for i in range(0, len(keys), m.kv_heads)]
        positions = torch.arange(self.cells, self.cells + len(self.next) - 1, device=DEVICE)
        hidden, seen = m.forward(self.next[:-1], positions, cache)
        return m.log_probabilities(hidden), seen

    @torch.no_grad()
    def sample(self, stride=1, cap=4096, newest=0.5, byPlace=True, horizon=512, oracle=False):
        """Query rows, turned to the positions after the context, and what they attend to. cap: rows a KV head."""
        m = self.model
        random = np.random.default_rng(0)
        candidates = np.arange(0, self.cells, stride)
        count = min(len(candidates), cap // m.group)
        fresh = candidates[len(candidates) - int(count * newest) :]
        older = candidates[: len(candidates) - len(fresh)]
        priority = random.random(len(older)) / (older + 1.0 if byPlace else 1.0)
        older = random.permutation(older[np.argsort(priority)[: count - len(fresh)]])
        chosen = in_turns(fresh[::-1], older)
        shift = self.cells + (np.arange(count) * 7919) % horizon - chosen
        turned = m.rope(self.all_queries[:, :, torch.tensor(chosen, device=DEVICE)], torch.tensor(shift, device=DEVICE))
        rows = (turned.half().float() / math.sqrt(m.dim)).transpose(1, 2).reshape(len(self.keys), -1, m.dim)
        self.queries = self.asked if oracle else rows
        self.outputs = torch.empty(*self.queries.shape[:2], m.dim, device=DEVICE)
        self.frms = torch.empty(len(self.keys), self.cells, device=DEVICE)
        self.fmean, self.fmax = torch.empty_like(self.frms), torch.empty_like(self.frms)
        for i in range(0, len(self.keys), 15):
            part = slice(i, i + 15)
            weights = torch.softmax(self.queries[part] @ self.keys[part].transpose(-1, -2), -1)
            self.outputs[part] = weights @ self.values[part]
            self.frms[part] = weights.pow(2).mean(1).sqrt()
            self.fmean[part], self.fmax[part] = weights.mean(1), weights.amax(1)

    def after(self, members, values):
        keys = self.keys.gather(1, members[..., None].expand(-1, -1, self.model.dim))
        return self.read_on(keys, values.half().float())[0]

    @torch.no_grad()
    def answers(self, logits, question):
        """Whether all that follows the question would be written."""
        return bool((logits[question - 1 :].argmax(-1) == self.next[question:]).all())

    @torch.no_grad()
    def measure(self, members, values):
        folded = self.after(members, values)
        kl = (self.full.exp() * (self.full - folded)).sum(-1).mean().item()
        return kl, (folded.argmax(-1) == self.full.argmax(-1)).float().mean().item()


DEFAULTS = dict(sinks=4, recent=64, sharedPins=0.0, headPins=0.35, heads=1.0, neighbours=2, by="both", per="head", lam=0.1,
                restFirst=True, pinRidge=10, fit=True, fitWindow=True, fitRows=2112, holdout=10, rowsForEachFree=4)


@torch.no_grad()
def fold(context, ratio, **setting):
    """Members [H, rows] and their values; None where the window alone is too large."""
    o = argparse.Namespace(**{**DEFAULTS, **setting})
    cells, heads = context.cells, len(context.keys)
    place = torch.arange(cells, device=DEVICE)
    window = (place < o.sinks) | (place >= cells - o.recent)
    free = (~window).nonzero()[:, 0]
    room = math.ceil(cells / ratio) - int(window.sum())
    if room < 8:
        return None
    scores = {"recency": place.float().expand(heads, cells), "knorm": -context.keys.norm(dim=-1), "keydiff": context.keydiff,
              "frms": context.frms, "fmean": context.fmean, "fmax": context.fmax,
              "both": (context.frms * context.fmean).sqrt()}[o.by]
    keep, pins = window.expand(heads, cells).clone(), torch.zeros(heads, cells, dtype=torch.bool, device=DEVICE)
    if o.per == "shared":
        keep[:, free[pooled(scores.amax(0), o.neighbours)[free].topk(room).indices]] = True
    else:
        shared = int(o.sharedPins * room)
        own = min(int(o.headPins * room), room - shared)
        if shared:
            new = torch.maximum(ranks(ranks(context.keydiff, free).amax(0), free), ranks(context.surprise, free))
            pins[:, free[pooled(new, 1)[free].topk(shared).indices]] = True
        keep |= pins
        stands_out = pooled(context.keydiff, o.neighbours)
        count = torch.where(context.induction >= context.induction.quantile(1 - o.heads), own, 0)
        best = lambda scores, taken, count: scores.masked_fill(taken, -math.inf).argsort(-1, True).argsort(-1) < count[:, None]
        novel = best(stands_out, keep, count)
        if o.restFirst:
            keep |= best(scores, keep, room - shared - count)
            late = best(stands_out, keep, count)
            keep |= late
            pins |= late | (novel & keep)
        else:
            pins |= novel
            keep |= pins
            keep |= best(scores, keep, room - shared - count)
    members = keep.nonzero()[:, 1].view(heads, -1)
    values = context.values.gather(1, members[..., None].expand(-1, -1, context.model.dim))
    return members, (refitted(context, members, values, keep, pins, window, o) if o.fit and o.per == "head" else values)


def refitted(context, members, values, keep, pins, window, o):
    dim, group = context.model.dim, context.model.group
    rows = min(context.queries.shape[1], o.fitRows // group * group)
    queries, outputs = context.queries[:, :rows], context.outputs[:, :rows]
    judge = torch.arange(rows, device=DEVICE) % o.holdout == o.holdout - 1
    may = keep & (~pins if o.pinRidge == 0 else True) & (~window if not o.fitWindow else True)
    most = min(int(may.sum(1).min()), int((~judge).sum()) // o.rowsForEachFree)
    worth = (context.frms * context.fmean).sqrt() if o.by == "both" else context.frms
    solved = torch.zeros_like(keep).scatter_(1, worth.masked_fill(~may, -1).topk(most, -1).indices, True)
    column = solved.gather(1, members).nonzero()[:, 1].view(len(members), most)
    pinned = pins.gather(1, members)
    out = values.clone()
    for i in range(0, len(members), 30):
        part = slice(i, i + 30)
        keys = context.keys[part].gather(1, members[part, :, None].expand(-1, -1, dim))
        weights = torch.softmax(queries[part] @ keys.transpose(-1, -2), -1)
        missing = outputs[part] - weights @ values[part]
        weights = weights.gather(2, column[part, None].expand(-1, rows, -1))
        a, e = weights[:, ~judge], missing[:, ~judge]
        gram = a.transpose(1, 2) @ a
        ridge = o.lam * gram.diagonal(dim1=1, dim2=2).mean(-1, keepdim=True).expand(-1, most)
        ridge = torch.where(pinned[part].gather(1, column[part]), ridge * o.pinRidge, ridge)
        factor, failed = torch.linalg.cholesky_ex(gram + torch.diag_embed(ridge))
        change = torch.cholesky_solve(a.transpose(1, 2) @ e, factor)
        before = missing[:, judge].pow(2).sum((1, 2))
        after = (missing[:, judge] - weights[:, judge] @ change).pow(2).sum((1, 2))
        change = torch.where(((after < before) & (failed == 0))[:, None, None], change, torch.zeros_like(change))
        out[part] = out[part].scatter_add(1, column[part, :, None].expand(-1, -1, dim), change)
    return out


PLAIN = dict(headPins=0)
BEFORE = dict(restFirst=False, by="frms", pinRidge=0)
SAMPLES = {
    "half newest, rest by place": {}, "half newest, rest uniform": dict(byPlace=False), "uniform": dict(newest=0, byPlace=False),
    "one in two": dict(stride=2, newest=0, byPlace=False), "one in four": dict(stride=4, newest=0, byPlace=False),
    "2048 rows": dict(cap=2048), "8192 rows": dict(cap=8192), "horizon 64": dict(horizon=64), "oracle": dict(oracle=True),
}
SETTINGS = [
    {}, dict(fit=False), PLAIN, dict(PLAIN, fit=False), BEFORE, dict(BEFORE, by="both"), dict(BEFORE, pinRidge=10),
    *(dict(pinRidge=x) for x in (0, 1, 3, 30, 100)), *(dict(headPins=x) for x in (0.2, 0.25, 0.3, 0.4)),
    *(dict(by=x) for x in ("frms", "fmean", "fmax")), *(dict(lam=x) for x in (0.01, 0.03, 0.3)), dict(neighbours=0),
    dict(neighbours=1), dict(sharedPins=0.1, headPins=0.2), dict(recent=32), dict(recent=128), dict(fitWindow=False),
    dict(fitRows=4096), dict(heads=0.2), dict(heads=0.2, headPins=0.5), dict(heads=0.2, headPins=0.75),
]
EVICTIONS = [*(dict(per="shared", by=x, neighbours=0, recent=128) for x in ("recency", "knorm", "keydiff", "frms"))]


def windows(tokens, length, count):
    room = len(tokens) - (length + WINDOW + 1)
    for index in range(count):
        start = room // 2 if count == 1 else round(room * index / (count - 1))
        yield index, tokens[start : start + length], tokens[start + length : start + length + WINDOW + 1]


def run_kl(arguments):
    model = Model(arguments.model)
    with open(arguments.out, "a") as out:
        for path in arguments.texts:
            for index, read, following in windows(np.fromfile(path, dtype=np.int32), arguments.tokens, arguments.windows):
                context = Context(model, read, following)
                for name, sample in SAMPLES.items():
                    context.sample(**sample)
                    for ratio in RATIOS:
                        for setting in SETTINGS + EVICTIONS if sample == {} else ({}, PLAIN):
                            made = fold(context, ratio, **setting)
                            if made is None:
                                continue
                            kl, top1 = context.measure(*made)
                            row = dict(text=path, tokens=arguments.tokens, window=index, sample=name, setting=setting, ratio=ratio, kl=kl, top1=top1)
                            out.write(json.dumps(row) + "\n")
                out.flush()
                print(path, index, flush=True)


@torch.no_grad()
def run_passkey(arguments):
    model = Model(arguments.model)
    with open(arguments.out, "a") as out:
        for case in json.load(open(arguments.cases)):
            context = Context(model, np.array(case["prompt"]), np.array(case["question"] + case["answer"]))
            context.sample()
            question = len(case["question"])
            known = context.answers(context.full, question)
            for ratio in RATIOS:
                for setting in SETTINGS:
                    made = fold(context, ratio, **setting)
                    if made is None:
                        continue
                    right = context.answers(context.after(*made), question)
                    out.write(json.dumps(dict(text=case["haystack"], key=case["key"], case=case["index"], setting=setting,
                                              ratio=ratio, full=known, right=right)) + "\n")
            out.flush()
            print(case["haystack"], case["key"], case["index"], flush=True)


def run_summary(arguments):
    table = {}
    for line in (line for file in arguments.files for line in open(file)):
        row = json.loads(line)
        what, value = (row["tokens"], row["kl"]) if "kl" in row else (row["key"], row["right"])
        table.setdefault((row.get("sample", ""), json.dumps(row["setting"])), {}).setdefault((what, row["ratio"]), []).append(value)
    for (sample, setting), found in table.items():
        cell = lambda values: f"{sum(values)} of {len(values)}" if isinstance(values[0], bool) else f"{sum(values) / len(values):.4f}"
        print(f"{sample:26} {setting:50} " + "  ".join(f"{what} {ratio}x {cell(values)}" for (what, ratio), values in found.items()))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    kl = commands.add_parser("kl")
    kl.add_argument("model")
    kl.add_argument("texts", nargs="+", help="token ids as int32, little-endian")
    kl.add_argument("--tokens", type=int, default=2048)
    kl.add_argument("--windows", type=int, default=6)
    kl.add_argument("--out", required=True)
    kl.set_defaults(run=run_kl)
    passkey = commands.add_parser("passkey")
    passkey.add_argument("model")
    passkey.add_argument("cases", help="what write_passkeys.mjs wrote")
    passkey.add_argument("--out", required=True)
    passkey.set_defaults(run=run_passkey)
    summary = commands.add_parser("summary")
    summary.add_argument("files", nargs="+")
    summary.set_defaults(run=run_summary)
    given = parser.parse_args()
    given.run(given)
