"""The item index: what is known of every item before a request comes in."""

from tesserank.index.categories import Categories
from tesserank.index.item_index import ItemIndex, Space
from tesserank.index.storage import load_index, save_index

__all__ = ["Categories", "ItemIndex", "Space", "load_index", "save_index"]
