// What the page says, in both languages, and how it writes numbers and times.

const TEXTS = {
  en: {
    skip: "Skip to the content",
    views: "Views",
    status: "Status",
    rooms: "Rooms",
    chat: "Ask",
    conversations: "Conversations",
    conversationsShort: "History",
    otherLanguage: "日本語",
    toDark: "Dark theme",
    toLight: "Light theme",
    tryNow: "Try now",
    tryAgain: "Try again",
    everyFifteen: "Checked every 15 seconds while this page is in view.",

    loginTitle: "Good to see you",
    loginLead: "Log in to ask the office and to see its rooms.",
    name: "Name",
    password: "Password",
    logIn: "Log in",
    loggingIn: "Logging in…",
    leave: "Log out",
    loginWrong: "The name or the password is wrong.",
    loginExpired: "Your login has expired. Log in again to go on.",
    loginDemo: "This is a demonstration: the name is demo, the password is DEMO_PASSWORD in .env.",

    overall_wait: "Checking…",
    overall_good: "All normal",
    overall_warn: "Degraded",
    overall_notReady: "Not ready",
    overall_bad: "Unreachable",
    banner_offline: "This device is offline. The page carries on when the network is back.",
    banner_nothing: "Nothing answers at this address. Trying again every 15 seconds.",
    banner_gateway: "The front door answers, the application behind it does not ({status}). Trying again every 15 seconds.",
    banner_notReady: "The application is not ready: {names}. What you see may be old.",
    card_application: "Application",
    card_data: "Data",
    card_ai: "AI service",
    card_model: "Model",
    card_release: "Release",
    running: "Running",
    answeredIn: "answered in {ms} ms",
    noAnswer: "No answer",
    unknown: "Not known",
    ready: "Ready",
    notReady: "Not ready",
    store_database: "Database",
    store_redis: "Redis",
    storeFails: "{name}: {problem}",
    aiHealthy: "Answering",
    aiHealthyMore: "the model server is reachable",
    aiDegraded: "Degraded",
    aiDegradedMore: "no answer from the model server",
    simulated: "Simulated",
    moreModels: "{count} available",
    schema: "schema {revision}",
    schemaUnknown: "schema not known",

    newTalk: "New",
    newTalkTitle: "New conversation",
    noTalks: "No conversations yet. Ask something.",
    older: "Show older",
    today: "Today",
    yesterday: "Yesterday",
    thisWeek: "Past 7 days",
    loading: "Loading…",

    greeting: "What can the office do for you?",
    greetingMore: "Ask about rooms, visitors, air or equipment.",
    ideas: "Ideas for a question",
    idea1: "Is Sakura free at 15:00 tomorrow?",
    idea2: "The air in Fuji is stuffy. Can you ventilate?",
    idea3: "Please summarise this week's minutes.",
    idea4: "Who is visiting today?",
    question: "Your question",
    placeholder: "Ask the office…",
    send: "Send",
    stop: "Stop the answer",
    hintReal: "Answers can be wrong: check what matters.",
    hintSimulated: "A simulated model answers here with canned text.",
    hintDegraded: "The model server does not answer now. A question would be kept, not answered; all else works.",
    keys: "Enter sends, Shift+Enter makes a new line.",
    charactersLeft: "{count} characters left.",
    you: "You",
    assistant: "Assistant",
    thinking: "Thinking…",
    thinkingLong: "Still thinking. A model that was just loaded takes a while for its first words.",
    answerDone: "The answer is complete.",
    stopped: "You stopped this answer.",
    cut: "The answer was cut off: the connection ended before the model did.",
    brokeOff: "The model broke off. What it said is kept.",
    notKept: "The answer could not be stored: it is lost when this page is left.",
    silent: "The model did not answer. Your question is kept.",
    askAgain: "Ask again",
    earlier: "Earlier messages",
    gone: "This conversation does not exist any more.",
    emptyTalk: "Nothing was said here.",

    failure_unreachable: "The application cannot be reached.",
    failure_expired: "Your login has expired.",
    failure_broken: "The application failed (status {status}).",
    failure_refused: "The application refused this (status {status}).",

    floor: "{floor}F",
    floorLong: "Floor {floor}",
    noRooms: "No rooms are known.",
    noReadings: "No readings",
    measured: "latest reading {ago}",
    temperature: "Temperature",
    humidity: "Humidity",
    co2: "CO₂",
    occupancy: "People",
    unit_temperature: "°C",
    unit_humidity: "%",
    unit_co2: "ppm",
    unit_occupancy: "",
    air_good: "good air",
    air_warn: "stuffy",
    air_bad: "poor",
    range: "{name}: {low} to {high} since {since}",
  },
  ja: {
    skip: "本文へ移動",
    views: "表示",
    status: "状態",
    rooms: "部屋",
    chat: "質問",
    conversations: "会話",
    conversationsShort: "履歴",
    otherLanguage: "English",
    toDark: "ダークテーマ",
    toLight: "ライトテーマ",
    tryNow: "今すぐ再試行",
    tryAgain: "再試行",
    everyFifteen: "このページの表示中は15秒ごとに確認します。",

    loginTitle: "おつかれさまです",
    loginLead: "ログインすると、オフィスへの質問や部屋の様子の確認ができます。",
    name: "ユーザー名",
    password: "パスワード",
    logIn: "ログイン",
    loggingIn: "ログイン中…",
    leave: "ログアウト",
    loginWrong: "ユーザー名またはパスワードが違います。",
    loginExpired: "ログインの有効期限が切れました。もう一度ログインしてください。",
    loginDemo: "デモ環境です。ユーザー名は demo、パスワードは .env の DEMO_PASSWORD です。",

    overall_wait: "確認中…",
    overall_good: "すべて正常",
    overall_warn: "一部低下",
    overall_notReady: "準備未完了",
    overall_bad: "接続不可",
    banner_offline: "この端末はオフラインです。ネットワークが戻ると自動的に再開します。",
    banner_nothing: "このアドレスから応答がありません。15秒ごとに再試行します。",
    banner_gateway: "入口は応答していますが、アプリケーションが応答していません（{status}）。15秒ごとに再試行します。",
    banner_notReady: "アプリケーションの準備ができていません：{names}。表示内容が古い可能性があります。",
    card_application: "アプリケーション",
    card_data: "データ",
    card_ai: "AI サービス",
    card_model: "モデル",
    card_release: "リリース",
    running: "稼働中",
    answeredIn: "応答 {ms} ms",
    noAnswer: "応答なし",
    unknown: "不明",
    ready: "準備完了",
    notReady: "準備未完了",
    store_database: "データベース",
    store_redis: "Redis",
    storeFails: "{name}：{problem}",
    aiHealthy: "応答中",
    aiHealthyMore: "モデルサーバーに接続済み",
    aiDegraded: "一部低下",
    aiDegradedMore: "モデルサーバーの応答なし",
    simulated: "模擬",
    moreModels: "{count} 件利用可",
    schema: "スキーマ {revision}",
    schemaUnknown: "スキーマ不明",

    newTalk: "新規",
    newTalkTitle: "新しい会話",
    noTalks: "会話はまだありません。質問してみてください。",
    older: "さらに表示",
    today: "今日",
    yesterday: "昨日",
    thisWeek: "過去7日間",
    loading: "読み込み中…",

    greeting: "どのようなご用件でしょうか？",
    greetingMore: "部屋、来客、空調、備品のことなど、お尋ねください。",
    ideas: "質問の例",
    idea1: "明日15時から桜は空いていますか？",
    idea2: "富士の空気がこもっています。換気できますか？",
    idea3: "今週の議事録を要約してください。",
    idea4: "今日の来客の予定は？",
    question: "質問",
    placeholder: "オフィスに質問…",
    send: "送信",
    stop: "回答を停止",
    hintReal: "回答は誤ることがあります。大切なことはご確認ください。",
    hintSimulated: "ここでは模擬モデルが定型文で答えます。",
    hintDegraded: "現在モデルサーバーが応答していません。質問は保存されますが回答されません。他の機能は使えます。",
    keys: "Enter で送信、Shift+Enter で改行。",
    charactersLeft: "残り {count} 文字。",
    you: "あなた",
    assistant: "アシスタント",
    thinking: "考えています…",
    thinkingLong: "まだ考えています。読み込み直後のモデルは、最初の言葉までに時間がかかります。",
    answerDone: "回答が完了しました。",
    stopped: "この回答は途中で停止されました。",
    cut: "回答が途中で切れました。モデルが話し終える前に接続が終了しました。",
    brokeOff: "モデルの回答が途中で中断しました。ここまでの内容は保存されています。",
    notKept: "回答を保存できませんでした。このページを離れると失われます。",
    silent: "モデルから回答がありませんでした。質問は保存されています。",
    askAgain: "もう一度質問",
    earlier: "以前のメッセージ",
    gone: "この会話はもう存在しません。",
    emptyTalk: "この会話には発言がありません。",

    failure_unreachable: "アプリケーションに接続できません。",
    failure_expired: "ログインの有効期限が切れました。",
    failure_broken: "アプリケーションでエラーが発生しました（{status}）。",
    failure_refused: "アプリケーションが受け付けませんでした（{status}）。",

    floor: "{floor}階",
    floorLong: "{floor}階",
    noRooms: "部屋が登録されていません。",
    noReadings: "測定値なし",
    measured: "最新の測定：{ago}",
    temperature: "室温",
    humidity: "湿度",
    co2: "CO₂",
    occupancy: "人数",
    unit_temperature: "°C",
    unit_humidity: "%",
    unit_co2: "ppm",
    unit_occupancy: "人",
    air_good: "良好",
    air_warn: "要換気",
    air_bad: "悪い",
    range: "{name}：{since}以降 {low}〜{high}",
  },
};

const listeners = [];

/** The language of the page: "en" or "ja". */
export const language = () => (document.documentElement.lang === "ja" ? "ja" : "en");

/** The text of a key; {facts} are put in. */
export function t(key, facts = {}) {
  return TEXTS[language()][key].replace(/\{(\w+)\}/g, (_, name) => facts[name]);
}

/** Calls `render` now and whenever the language changes. */
export function whenLanguage(render) {
  listeners.push(render);
  render();
}

/** Changes the language and remembers it. */
export function speak(wanted) {
  document.documentElement.lang = wanted;
  remember("language", wanted);
  for (const render of listeners) render();
}

/** Fills in every text of the page that is marked in the HTML. */
export function fillIn() {
  for (const element of document.querySelectorAll("[data-t]")) element.textContent = t(element.dataset.t);
  for (const element of document.querySelectorAll("[data-t-label]")) {
    element.setAttribute("aria-label", t(element.dataset.tLabel));
    if (element.tagName === "BUTTON") element.title = t(element.dataset.tLabel);
  }
}

/** Keeps a choice for the next visit; null forgets it. Storage may be forbidden: then it lasts until the page is left. */
export function remember(key, value) {
  try {
    if (value === null) localStorage.removeItem(key);
    else localStorage.setItem(key, value);
  } catch {
    // The choice holds for this visit.
  }
}

/** What was kept for this visit or from another; null when nothing was. */
export function recall(key) {
  try {
    return localStorage.getItem(key);
  } catch {
    return null;
  }
}

/** A name that was given in both languages, as "桜 / Sakura", in the page's. */
export function named(name) {
  const [japanese, english, ...more] = name.split(" / ");
  return english === undefined || more.length ? name : language() === "ja" ? japanese : english;
}

export const clock = (moment) => new Intl.DateTimeFormat(language(), { timeStyle: "medium" }).format(moment);
export const fullTime = (moment) => new Intl.DateTimeFormat(language(), { dateStyle: "medium", timeStyle: "short" }).format(moment);
export const month = (moment) => new Intl.DateTimeFormat(language(), { year: "numeric", month: "long" }).format(moment);
export const number = (value, digits = 0) =>
  new Intl.NumberFormat(language(), { minimumFractionDigits: digits, maximumFractionDigits: digits }).format(value);

/** The time, with the day unless it is today. */
export function shortTime(moment) {
  const today = moment >= new Date().setHours(0, 0, 0, 0);
  return today ? new Intl.DateTimeFormat(language(), { timeStyle: "short" }).format(moment) : fullTime(moment);
}

/** "5 minutes ago". */
export function ago(moment) {
  const seconds = Math.min(0, (moment - Date.now()) / 1000);
  const format = new Intl.RelativeTimeFormat(language(), { numeric: "auto" });
  for (const [unit, size] of [
    ["day", 86400],
    ["hour", 3600],
    ["minute", 60],
  ]) {
    if (-seconds >= size) return format.format(Math.round(seconds / size), unit);
  }
  return format.format(0, "minute");
}
