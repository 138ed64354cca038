"""Loads a realistic office for a demonstration: python -m app.seed --messages 50000

Three years of conversations in Japanese and English, sensor readings, an audit log. The same seed gives the same office.
A database that already has conversations is left as it is.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta

import psycopg
from argon2 import PasswordHasher

YEARS = 3
PEOPLE = [
    ("demo", "デモ利用者 / Demo user"), ("tanaka", "田中 美咲"), ("suzuki", "鈴木 健太"), ("sato", "佐藤 陽子"), ("yamamoto", "山本 大輔"),
    ("watanabe", "渡辺 さくら"), ("ito", "伊藤 翔"), ("nakamura", "中村 恵"), ("kobayashi", "小林 誠"), ("miller", "Anna Miller"),
    ("obrien", "Sean O'Brien"), ("garcia", "Lucía García"), ("nguyen", "Nguyễn Minh"), ("weber", "Jörg Weber"),
]  # fmt: skip
ROOMS = [
    ("桜 / Sakura", 3),
    ("富士 / Fuji", 3),
    ("竹 / Take", 4),
    ("松 / Matsu", 4),
    ("Atlantic", 5),
    ("Pacific", 5),
    ("受付 / Reception", 1),
    ("サーバー室 / Server room", 2),
]
TOPICS = [
    ("会議室{room}を{hour}時から予約できますか？", "はい、{room}は{hour}時から空いています。{people}名で予約しました。"),
    ("{room}が暑すぎます。設定温度を下げてください。", "{room}の設定温度を{degrees}℃に下げました。15分ほどで涼しくなります。"),
    ("今週の議事録を要約してください。", "要約です。1. 予算案は承認されました。2. {room}の改装は来月に延期します。3. 次回は{hour}時開始です。"),
    ("プリンターが動きません。", "{floor}階のプリンターは用紙切れです。補充を依頼しました。担当者が{hour}時までに対応します。"),
    ("明日の来客の予定は？", "{people}名の来客が{hour}時に受付に到着します。{room}を確保してあります。"),
    ("Is {room} free at {hour}:00 tomorrow?", "Yes, {room} is free from {hour}:00. I booked it for {people} people and sent the invitations."),
    ("The air in {room} is stuffy.", "CO₂ in {room} reached {ppm} ppm. I raised the ventilation; it should be below 800 ppm within ten minutes."),
    ("Please summarise yesterday's stand-up.", "Three points: the release went out, {room} gets a new screen, and the backup drill took {degrees} minutes, as planned."),
    ("Who left the lights on in {room}?", "Nobody has been in {room} since {hour}:00. I switched the lights off and set a rule for next time."),
    ("Can you order more coffee for floor {floor}?", "Ordered: {people} kg for floor {floor}. It arrives before {hour}:00."),
]  # fmt: skip
ACTIONS = ["login", "chat", "room booked", "temperature set", "lights switched", "report exported"]
LEVELS = {"temperature": (23, 2), "humidity": (45, 8), "co2": (700, 180), "occupancy": (3, 2.5)}


def moments(count: int, rng: random.Random, end: datetime) -> list[datetime]:
    """`count` moments of office hours over the years before `end`, oldest first."""
    days = YEARS * 365
    found = []
    for _ in range(count):
        day = end - timedelta(days=days * (1 - rng.random() ** 0.8))
        found.append(
            day.replace(hour=rng.choice((0, 1, 2, 4, 5, 6, 7, 8, 9)), minute=rng.randrange(60), second=rng.randrange(60), microsecond=0)
        )
    return sorted(moment for moment in found if moment < end) or [end]


def spoken(rng: random.Random) -> tuple[str, str]:
    """A question and its answer."""
    question, answer = rng.choice(TOPICS)
    facts = {
        "room": rng.choice(ROOMS)[0], "hour": rng.randint(8, 18), "people": rng.randint(2, 14),
        "degrees": rng.randint(20, 27), "floor": rng.randint(1, 5), "ppm": rng.randint(900, 2100),
    }  # fmt: skip
    more = " ".join(rng.choice(TOPICS)[1].format(**facts) for _ in range(int(rng.expovariate(0.8))))
    return question.format(**facts), f"{answer.format(**facts)} {more}".strip()


def conversations(messages: int, rng: random.Random, end: datetime) -> Iterator[tuple[int, datetime, str, list[tuple[str, str, datetime]]]]:
    """(user's number, when, title, turns) until `messages` turns are made."""
    starts = moments(max(1, messages // 6), rng, end)
    made = 0
    for position, start in enumerate(starts):
        left = messages - made
        turns: list[tuple[str, str, datetime]] = []
        length = left if position == len(starts) - 1 else min(left, 2 * rng.choice((1, 2, 2, 3, 3, 4, 6)))
        at = start
        while len(turns) < length:
            question, answer = spoken(rng)
            at += timedelta(seconds=rng.randint(5, 240))
            turns += [("user", question, at), ("assistant", answer, at + timedelta(seconds=rng.randint(1, 9)))]
        made += len(turns)
        if turns:
            yield rng.randrange(len(PEOPLE)), start, turns[0][1][:80], turns


def copy(cursor: psycopg.Cursor, table: str, columns: str, rows: Iterable[tuple[object, ...]]) -> int:
    """COPY, the fast way in. Returns how many rows went in."""
    count = 0
    with cursor.copy(f"COPY {table} ({columns}) FROM STDIN") as into:
        for row in rows:
            into.write_row(row)
            count += 1
    return count


def load(connection: psycopg.Connection, messages: int, seed: int, password: str) -> dict[str, int]:
    """Fills an empty database in one transaction. Returns rows by table; empty when there was an office already."""
    rng, end = random.Random(seed), datetime.now(UTC)  # noqa: S311 - a demonstration's data
    with connection.cursor() as cursor:
        if cursor.execute("SELECT 1 FROM conversations LIMIT 1").fetchone():
            return {}
        hashed = PasswordHasher(time_cost=2, memory_cost=19456, parallelism=1).hash(password)
        counts = {"users": copy(cursor, "users", "name, display_name, password_hash", ((name, shown, hashed) for name, shown in PEOPLE))}
        counts["rooms"] = copy(cursor, "rooms", "name, floor", ROOMS)
        users = [row[0] for row in cursor.execute("SELECT id FROM users ORDER BY id").fetchall()]
        rooms = [row[0] for row in cursor.execute("SELECT id FROM rooms ORDER BY id").fetchall()]
        talks = list(conversations(messages, rng, end))
        counts["conversations"] = copy(
            cursor, "conversations", "user_id, title, created_at", ((users[who], title, at) for who, at, title, _ in talks)
        )
        first = cursor.execute("SELECT min(id) FROM conversations").fetchone()[0]
        turns = (
            (first + number, role, text, None if role == "user" else "gemma3:12b", at)
            for number, (_, _, _, talk) in enumerate(talks)
            for role, text, at in talk
        )
        counts["messages"] = copy(cursor, "messages", "conversation_id, role, content, model, created_at", turns)
        readings = (
            (rng.choice(rooms), kind, round(rng.gauss(*LEVELS[kind]), 2), at) for at in moments(messages // 2, rng, end) for kind in LEVELS
        )
        counts["sensor_readings"] = copy(cursor, "sensor_readings", "room_id, kind, value, measured_at", readings)
        audit = (
            (
                rng.choice(users),
                rng.choice(ACTIONS),
                json.dumps({"ip": f"10.0.{rng.randrange(8)}.{rng.randrange(250)}", "ok": rng.random() > 0.02}),
                at,
            )
            for at in moments(messages // 2, rng, end)
        )
        counts["audit_log"] = copy(cursor, "audit_log", "user_id, action, detail, at", audit)
    connection.commit()
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")
    connection.commit()
    return counts


def main() -> None:
    """Prints one JSON object: rows by table, or nothing loaded."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, default=50_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    url = os.environ.get("DATABASE_URL", "").replace("postgresql+psycopg://", "postgresql://") or ""
    with psycopg.connect(url) as connection:
        counts = load(connection, options.messages, options.seed, os.environ.get("DEMO_PASSWORD", "demo-office"))
    json.dump({"loaded": counts}, sys.stdout)
    print()


if __name__ == "__main__":
    main()
