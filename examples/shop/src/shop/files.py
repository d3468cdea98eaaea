"""Files: the import of products, and the end of old ones."""

from __future__ import annotations

import csv
import os
import time
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.orm import Session

from .models import Product

SECONDS_A_DAY = 24 * 60 * 60


class ProductImport:
    """Reads products from CSV files with the columns sku, name, price (in cents), stock."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def process_file(self, source: str | os.PathLike[str], report: str | os.PathLike[str]) -> int:
        """Store the products of a file, new ones and changed ones; return how many.

        Args:
            source: the file.
            report: is written: a line for each of its lines, PROCESSED, or REFUSED with the reason.
        """
        with open(source, encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        # one statement for all of them, not one for each
        known = self._session.scalars(select(Product).where(Product.sku.in_([row.get("sku") for row in rows])))
        products = {each.sku: each for each in known}
        lines = [self._process(row, products) for row in rows]
        self._session.commit()
        Path(report).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        return sum(line.startswith("PROCESSED") for line in lines)

    def _process(self, row: dict[str, str], products: dict[str, Product]) -> str:
        try:
            sku, name, price, stock = row["sku"], row["name"], int(row["price"]), int(row["stock"])
        except (KeyError, TypeError, ValueError) as error:
            return f"REFUSED: {row.get('sku')}: {error}"
        if sku not in products:
            products[sku] = Product(sku=sku)
            self._session.add(products[sku])
        product = products[sku]
        product.name, product.price, product.stock = name, price, stock
        return f"PROCESSED: {sku}"


def clean_up_old_files(directory: str | os.PathLike[str], days_old: float) -> int:
    """Delete the files of a directory that were changed so many days ago or before; return how many."""
    oldest = time.time() - days_old * SECONDS_A_DAY
    old = [path for path in Path(directory).iterdir() if path.is_file() and path.stat().st_mtime <= oldest]
    for path in old:
        path.unlink()
    return len(old)
