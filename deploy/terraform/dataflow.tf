locals {
  alert_webhook = var.alert_webhook_secret == "" ? {} : {
    alert_webhook = "gcp-secret:${google_secret_manager_secret.partners[var.alert_webhook_secret].id}/versions/latest"
  }

  # Only addresses and numbers: whoever may see the job may read them.
  parameters = merge(
    {
      connectors   = "gs://${google_storage_bucket.buckets["config"].name}/${var.connectors}"
      subscription = google_pubsub_subscription.events.id
      hold         = "gs://${google_storage_bucket.buckets["hold"].name}/held"
      dead_letters = "gs://${google_storage_bucket.buckets["dead-letters"].name}/dead"
    },
    local.alert_webhook,
    var.parameters,
  )
}

resource "google_dataflow_flex_template_job" "pipeline" {
  provider = google-beta
  count    = var.template == "" ? 0 : 1

  name                    = var.name
  region                  = var.region
  container_spec_gcs_path = var.template
  parameters              = local.parameters

  service_account_email   = google_service_account.pipeline.email
  staging_location        = "gs://${google_storage_bucket.buckets["staging"].name}/staging"
  temp_location           = "gs://${google_storage_bucket.buckets["staging"].name}/temp"
  kms_key_name            = var.kms_key == "" ? null : var.kms_key
  subnetwork              = var.subnetwork
  ip_configuration        = "WORKER_IP_PRIVATE"
  enable_streaming_engine = true
  autoscaling_algorithm   = "THROUGHPUT_BASED"
  max_workers             = var.max_workers
  machine_type            = var.machine_type
  additional_experiments  = ["streaming_mode_${var.streaming_mode}"]

  # A change of the template or of a parameter updates the job in place; a change of the name replaces
  # it. When it is taken away it is drained: what is on its way is delivered or held.
  on_delete                    = "drain"
  skip_wait_on_job_termination = false

  depends_on = [
    google_artifact_registry_repository_iam_member.image,
    google_project_iam_member.worker,
    google_pubsub_subscription_iam_member.reads,
    google_secret_manager_secret_iam_member.pipeline,
    google_storage_bucket_iam_member.pipeline,
    google_storage_bucket_iam_member.staging_bucket,
  ]
}
