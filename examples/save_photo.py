"""Saves the photos that people send, and deletes them at Twilio."""

import mimetypes
from pathlib import Path

from offhook import Media, Message, Offhook

app = Offhook()
FOLDER = Path("photos")
FOLDER.mkdir(exist_ok=True)


def is_photo(media: Media) -> bool:
    return media.content_type.startswith("image/")


@app.message(where=lambda message: any(map(is_photo, message.media)))
async def save(message: Message) -> str:
    await message.typing()
    photos = [media for media in message.media if is_photo(media)]
    for number, photo in enumerate(photos):
        # Named after the message: a repeated attempt replaces its file.
        suffix = mimetypes.guess_extension(photo.content_type) or ""
        await photo.save(FOLDER / f"{message.sid}-{number}{suffix}")
    for photo in photos:
        await photo.delete()
    return "One photo saved." if len(photos) == 1 else f"{len(photos)} photos saved."


@app.message()
async def ask(_: Message) -> str:
    return "Send me a photo."
