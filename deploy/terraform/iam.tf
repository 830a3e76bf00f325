# The workers' and the launcher's account. It can read one subscription, its own buckets, its own secrets
# and its own image; and work for Dataflow, which also lets it write logs and metrics.

resource "google_project_service" "used" {
  for_each = toset([
    "artifactregistry.googleapis.com",
    "compute.googleapis.com",
    "dataflow.googleapis.com",
    "logging.googleapis.com",
    "monitoring.googleapis.com",
    "pubsub.googleapis.com",
    "secretmanager.googleapis.com",
    "storage.googleapis.com",
  ])

  service            = each.value
  disable_on_destroy = false
}

resource "google_service_account" "pipeline" {
  account_id   = "${var.name}-pipeline"
  display_name = "Currents: launcher and workers of ${var.name}"
}

locals {
  pipeline = google_service_account.pipeline.member
}

resource "google_project_iam_member" "worker" {
  project = var.project
  role    = "roles/dataflow.worker"
  member  = local.pipeline
}

resource "google_pubsub_subscription_iam_member" "reads" {
  for_each = toset(["roles/pubsub.subscriber", "roles/pubsub.viewer"])

  subscription = google_pubsub_subscription.events.id
  role         = each.value
  member       = local.pipeline
}

# Objects are written, listed, read and deleted; the connectors file is only read.
resource "google_storage_bucket_iam_member" "pipeline" {
  for_each = {
    hold         = "roles/storage.objectUser"
    dead-letters = "roles/storage.objectUser"
    staging      = "roles/storage.objectUser"
    config       = "roles/storage.objectViewer"
  }

  bucket = google_storage_bucket.buckets[each.key].name
  role   = each.value
  member = local.pipeline
}

# Beam looks at the bucket itself before it stages.
resource "google_storage_bucket_iam_member" "staging_bucket" {
  bucket = google_storage_bucket.buckets["staging"].name
  role   = "roles/storage.legacyBucketReader"
  member = local.pipeline
}

resource "google_artifact_registry_repository_iam_member" "image" {
  project    = split("/", var.image_repository)[1]
  location   = split("/", var.image_repository)[3]
  repository = split("/", var.image_repository)[5]
  role       = "roles/artifactregistry.reader"
  member     = local.pipeline
}

# Operators see what is held, and dead letters; `currents replay` also writes down what it has replayed.
resource "google_storage_bucket_iam_member" "operators" {
  for_each = {
    for pair in setproduct(["hold", "dead-letters"], var.operators) :
    "${pair[0]} ${pair[1]}" => { bucket = pair[0], member = pair[1] }
  }

  bucket = google_storage_bucket.buckets[each.value.bucket].name
  role   = each.value.bucket == "hold" ? "roles/storage.objectViewer" : "roles/storage.objectUser"
  member = each.value.member
}
