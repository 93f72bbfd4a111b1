"""The model behind HTTP: the vLLM process, the client that asks it, the store of its completions."""

from charter.serving.client import Client
from charter.serving.completion import Ask, Completion, Sampling
from charter.serving.endpoints import Served, connect
from charter.serving.engine import Engine, EngineSpec, EngineStats, open_engine
from charter.serving.identity import model_identity
from charter.serving.metrics import ServerMetrics, server_metrics
from charter.serving.process import serve
from charter.store import Store, StoreStats, open_store

__all__ = [
    "Ask",
    "Client",
    "Completion",
    "Engine",
    "EngineSpec",
    "EngineStats",
    "Sampling",
    "Served",
    "ServerMetrics",
    "Store",
    "StoreStats",
    "connect",
    "model_identity",
    "open_engine",
    "open_store",
    "serve",
    "server_metrics",
]
