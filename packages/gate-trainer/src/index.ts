/** Types of the learned gate. There is no code behind them yet. */
export type {
  GateDecision,
  GateFeature,
  GateFile,
  GateLayer,
  GateTarget,
  TargetScale,
} from "./gate-file.js";
