"""Files: a directory of the test's own, and files that are as old as the test says."""

from __future__ import annotations

import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from pytest_testbed import WorkDir
from shop.files import ProductImport, clean_up_old_files
from shop.models import Product


def test_file_processing_workflow(workdir: WorkDir, pg_session: Session) -> None:
    workdir.write("products.csv", "sku,name,price,stock\nLAMP,Lamp,2500,4\nDESK,Desk,free,1\nBED,Bett für Ida,9000,2\n")

    assert ProductImport(pg_session).process_file(workdir / "products.csv", workdir / "report.txt") == 2

    assert workdir.lines("report.txt") == [
        "PROCESSED: LAMP",
        "REFUSED: DESK: invalid literal for int() with base 10: 'free'",
        "PROCESSED: BED",
    ]
    stored = pg_session.execute(select(Product.sku, Product.name, Product.price).order_by(Product.sku)).all()
    assert [tuple(row) for row in stored] == [("BED", "Bett für Ida", 9000), ("LAMP", "Lamp", 2500)]


def test_a_product_that_is_there_is_changed(workdir: WorkDir, pg_session: Session, product: Product) -> None:
    workdir.write("products.csv", f"sku,name,price,stock\n{product.sku},New name,1,2\n")

    ProductImport(pg_session).process_file(workdir / "products.csv", workdir / "report.txt")

    assert (product.name, product.price, product.stock) == ("New name", 1, 2)


@pytest.mark.budget(queries=3, seconds=60)
def test_bulk_insert_performance(workdir: WorkDir, pg_session: Session) -> None:
    """Statements are counted, as they are the same on each machine; seconds are for what has become far too slow."""
    lines = [f"SKU-{number},Product {number},100,{number}\n" for number in range(1_000)]
    workdir.write("products.csv", "sku,name,price,stock\n" + "".join(lines))

    assert ProductImport(pg_session).process_file(workdir / "products.csv", workdir / "report.txt") == 1_000

    assert pg_session.scalar(select(func.count()).select_from(Product)) == 1_000


def test_a_product_that_comes_twice_is_the_last_one(workdir: WorkDir, pg_session: Session) -> None:
    workdir.write("products.csv", "sku,name,price,stock\nLAMP,Lamp,2500,4\nLAMP,Big lamp,3000,1\n")

    ProductImport(pg_session).process_file(workdir / "products.csv", workdir / "report.txt")

    assert pg_session.scalars(select(Product.name)).all() == ["Big lamp"]


def test_file_cleanup_integration(workdir: WorkDir) -> None:
    workdir.write({"old.csv": "", "young.csv": "", "folder": {}})
    workdir.age("old.csv", days=30)
    workdir.age("young.csv", days=29, hours=23)

    assert clean_up_old_files(workdir, days_old=30) == 1
    assert workdir.tree() == {"folder": {}, "young.csv": ""}

    assert clean_up_old_files(workdir, days_old=0) == 1
    assert workdir.tree() == {"folder": {}}
