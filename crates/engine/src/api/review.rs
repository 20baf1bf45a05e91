//! Questions that are asked by creating an object: may I do this, and who am I. Whoever reaches this API may do
//! everything.

use axum::{body::Body, response::Response};
use serde_json::{Value, json};

use super::{
    User, body,
    dispatch::json_response,
    error::{ApiError, Result},
};

/// A kind that is only ever created, and not kept.
#[derive(Debug)]
pub(crate) struct Review {
    pub(crate) group: &'static str,
    pub(crate) version: &'static str,
    pub(crate) plural: &'static str,
    pub(crate) kind: &'static str,
}

/// The kinds.
pub(crate) static REVIEWS: &[Review] = &[
    review("authentication.k8s.io", "selfsubjectreviews", "SelfSubjectReview"),
    review("authorization.k8s.io", "selfsubjectaccessreviews", "SelfSubjectAccessReview"),
    review("authorization.k8s.io", "selfsubjectrulesreviews", "SelfSubjectRulesReview"),
];

const fn review(group: &'static str, plural: &'static str, kind: &'static str) -> Review {
    Review { group, version: "v1", plural, kind }
}

/// Finds the kind of a path.
pub(crate) fn find(group: &str, version: &str, plural: &str) -> Option<&'static Review> {
    REVIEWS.iter().find(|r| r.group == group && r.version == version && r.plural == plural)
}

// === impl Review ===

impl Review {
    pub(crate) fn singular(&self) -> String {
        self.kind.to_lowercase()
    }

    /// Answers the question.
    pub(crate) async fn answer(
        &self,
        user: &User,
        headers: &http::HeaderMap,
        body: Body,
    ) -> Result<Response> {
        let bytes = body::read(body).await?;
        let mut value = body::object(body::media_type(headers), &bytes)?;
        let asked = value.get("kind").and_then(Value::as_str).unwrap_or(self.kind);
        if asked != self.kind {
            let why =
                format!("the kind in the data ({asked}) does not match the expected kind ({})", self.kind);
            return Err(ApiError::bad_request(why));
        }
        value["apiVersion"] = format!("{}/{}", self.group, self.version).into();
        value["kind"] = self.kind.into();
        value["status"] = self.status(user);
        Ok(json_response(201, value.to_string()))
    }

    fn status(&self, user: &User) -> Value {
        match self.kind {
            "SelfSubjectReview" => {
                json!({"userInfo": {"username": user.0, "groups": ["system:masters", "system:authenticated"]}})
            }
            "SelfSubjectRulesReview" => json!({
                "resourceRules": [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}],
                "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}], "incomplete": false,
            }),
            _ => json!({"allowed": true}),
        }
    }
}
