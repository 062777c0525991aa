"""The routes that Label Studio calls."""

from __future__ import annotations

import traceback
from typing import Any

from flask import Flask, jsonify, request

TRAIN_EVENTS = ("ANNOTATION_CREATED", "ANNOTATION_UPDATED", "ANNOTATION_DELETED", "START_TRAINING")


def init_app(model_class: type[Any]) -> Flask:
    app = Flask(__name__)

    @app.route("/predict", methods=["POST"])
    def predict() -> Any:
        data = request.json
        params = data.get("params", {})
        context = params.pop("context", {})
        model = model_class(project_id=_project(data), label_config=data.get("label_config"))
        return jsonify({"results": model.predict(data.get("tasks"), context=context, **params) or []})

    @app.route("/setup", methods=["POST"])
    def setup() -> Any:
        data = request.json
        model = model_class(project_id=_project(data), label_config=data.get("schema"))
        if data.get("extra_params"):
            model.set("extra_params", data["extra_params"])
        return jsonify({"model_version": model.get("model_version")})

    @app.route("/webhook", methods=["POST"])
    def webhook() -> Any:
        data = request.json
        event = data.pop("action")
        if event not in TRAIN_EVENTS:
            return jsonify({"status": "Unknown event"})
        model = model_class(str(data["project"]["id"]), label_config=data["project"]["label_config"])
        return jsonify({"result": model.fit(event, data), "status": "ok"}), 201

    @app.route("/health")
    def health() -> Any:
        return jsonify({"status": "UP", "model_class": model_class.__name__})

    @app.errorhandler(Exception)
    def failed(error: Exception) -> Any:
        detail = f"{type(error).__name__}: {error}"
        return jsonify({"status": 500, "detail": detail, "result": {"traceback": traceback.format_exc()}}), 500

    return app


def _project(data: dict[str, Any]) -> str:
    return str(data.get("project")).split(".", 1)[0]
