/** What the page calls the policies and the ends of a text. */

/** @typedef {import('../killick/index.js').PolicyName} PolicyName */

/** @type {Record<PolicyName, { name: string, says: string }>} */
export const POLICIES = {
  anchor: { name: 'Anchors', says: 'Keeps the sentence being written, and one entry for each sentence before it.' },
  full: { name: 'Full cache', says: 'Keeps everything, as most engines do. Grows with each token, and the text ends when the model’s context is full.' },
  window: { name: 'Sliding window', says: 'Keeps the last tokens and forgets all before them.' },
  streaming: { name: 'Window and first tokens', says: 'Keeps the last tokens and the first few, which steadies models that were not trained to forget (StreamingLLM).' },
  sepllm: { name: 'Separators', says: 'Keeps the last tokens, the first few, and every comma, full stop and line break before (SepLLM).' },
};

/** @type {Record<string, string>} */
export const REASONS = {
  eos: 'The model ended its text.',
  stop: 'It came to a stop word.',
  max_tokens: 'It wrote as many tokens as the settings allow.',
  context_full: 'The cache is full: under this policy the text ends here.',
  position_limit: 'The text is as long as this model can count.',
  segment_limit: 'A sentence became longer than the policy allows.',
  cancelled: 'Stopped.',
};
