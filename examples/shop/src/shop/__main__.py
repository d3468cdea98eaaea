"""The shop's command line: `python -m shop serve`, `worker`, `import` and `clean-up`."""

from __future__ import annotations

import argparse
import logging
import signal
from pathlib import Path

from werkzeug.serving import make_server

from .files import ProductImport, clean_up_old_files
from .parts import Parts
from .queue import OrderWorker
from .settings import Settings
from .web import create_app


def serve(port: int) -> None:
    """Answer requests, and say where, until the process is ended."""
    server = make_server("127.0.0.1", port, create_app(), threaded=True)
    print(f"http://127.0.0.1:{server.server_port}", flush=True)
    server.serve_forever()


def work() -> None:
    """Process orders until the process is told to end; finish the one at hand."""
    settings = Settings.from_environment()
    worker = OrderWorker(settings.rabbitmq_url, Parts(settings).workflow.process_order)
    signal.signal(signal.SIGTERM, lambda *_: worker.stop())
    print("waiting for orders", flush=True)
    worker.run()


def import_products(source: Path, report: Path) -> None:
    """Store the products of a file."""
    with Parts(Settings.from_environment()).sessions() as session:
        print(f"{ProductImport(session).process_file(source, report)} products")


def main() -> None:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(prog="shop")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("serve", help="answer requests").add_argument("--port", type=int, default=8000)
    commands.add_parser("worker", help="process orders")
    importing = commands.add_parser("import", help="store the products of a CSV file")
    importing.add_argument("source", type=Path)
    importing.add_argument("report", type=Path)
    cleaning = commands.add_parser("clean-up", help="delete old files")
    cleaning.add_argument("directory", type=Path)
    cleaning.add_argument("--days", type=float, default=30)
    chosen = parser.parse_args()
    logging.basicConfig(level=logging.INFO)
    if chosen.command == "serve":
        serve(chosen.port)
    elif chosen.command == "worker":
        work()
    elif chosen.command == "import":
        import_products(chosen.source, chosen.report)
    else:
        print(f"{clean_up_old_files(chosen.directory, chosen.days)} files deleted")


if __name__ == "__main__":
    main()
