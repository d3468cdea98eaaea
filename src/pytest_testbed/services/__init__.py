"""The engine: starts, owns, hands out and reaps services; knows neither pytest nor any kind."""
