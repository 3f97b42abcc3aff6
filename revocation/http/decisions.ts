/** A decision of the edge about one request. Safe to log: `uri` is redacted. */
export interface Decision {
  /** Seconds since the epoch, with fraction. */
  time: number;
  method: string;
  status: number;
  /** Denial reason; '' when the request was allowed. */
  reason: string;
  /** Session id as presented; '' when there was no token. */
  sessionId: string;
  kid: string;
  uri: string;
}

/** The edge decisions as they are made. */
export interface DecisionFeed {
  /** The latest decisions, oldest first. */
  recent(): Decision[];
  /** Calls `listener` with every decision from now on; returns what ends that. */
  subscribe(listener: (decision: Decision) => void): () => void;
}
