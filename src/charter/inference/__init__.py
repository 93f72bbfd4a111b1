"""The model behind HTTP: the vLLM process, the client that asks it, the store of its completions."""

from charter.inference.client import Client
from charter.inference.completion import Ask, Completion, Sampling
from charter.inference.endpoints import Served, connect
from charter.inference.engine import Engine, EngineSpec, EngineStats
from charter.inference.identity import model_identity
from charter.inference.metrics import ServerMetrics, server_metrics
from charter.inference.server.process import serve
from charter.inference.session import Session, open_engine
from charter.inference.store import Store, StoreStats, open_store

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
    "Session",
    "Store",
    "StoreStats",
    "connect",
    "model_identity",
    "open_engine",
    "open_store",
    "serve",
    "server_metrics",
]
