//! The routes of the service.

use std::fmt::Display;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use larder::LoadError;
use metrics_exporter_prometheus::PrometheusHandle;

use crate::reports::Reports;

/// `/reports/{customer}` from the cache, `/direct/{customer}` past it, and `/metrics`.
pub fn router(reports: Reports, prometheus: PrometheusHandle) -> Router {
    let metrics = {
        let reports = reports.clone();
        async move || {
            larder::metrics::publish(reports.cache());
            prometheus.render()
        }
    };
    Router::new()
        .route("/reports/{customer}", get(report))
        .route("/direct/{customer}", get(direct))
        .with_state(reports)
        .route("/metrics", get(metrics))
}

async fn report(State(reports): State<Reports>, Path(customer): Path<u32>) -> Response {
    match reports.get(customer).await {
        Ok(json) => as_json(&json),
        Err(LoadError::NotFound) => StatusCode::NOT_FOUND.into_response(),
        Err(error) => unavailable(&error),
    }
}

async fn direct(State(reports): State<Reports>, Path(customer): Path<u32>) -> Response {
    match reports.query(customer).await {
        Ok(Some(json)) => as_json(&json),
        Ok(None) => StatusCode::NOT_FOUND.into_response(),
        Err(error) => unavailable(&error),
    }
}

fn as_json(json: &Arc<str>) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], json.to_string()).into_response()
}

fn unavailable(error: &impl Display) -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, error.to_string()).into_response()
}
