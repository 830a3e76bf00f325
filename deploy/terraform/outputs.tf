output "topic" {
  description = "Where events are published."
  value       = google_pubsub_topic.events.id
}

output "subscription" {
  description = "What the job reads."
  value       = google_pubsub_subscription.events.id
}

output "hold" {
  description = "For `currents status --hold`."
  value       = local.parameters.hold
}

output "dead_letters" {
  description = "For `currents replay --dead_letters`."
  value       = local.parameters.dead_letters
}

output "connectors" {
  description = "Where the connectors file belongs; the job starts when it is there."
  value       = local.parameters.connectors
}

output "service_account" {
  description = "The launcher's and the workers' account."
  value       = google_service_account.pipeline.email
}

output "secrets" {
  description = "What the connectors file calls the secrets, by their names here."
  value       = { for name, secret in google_secret_manager_secret.partners : name => "gcp-secret:${secret.id}/versions/latest" }
}
