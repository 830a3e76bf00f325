# Entries without values. A value in Terraform is readable in its state, so it is added by hand:
#   gcloud secrets versions add NAME --data-file=-
# The connectors file names it as gcp-secret:projects/P/secrets/NAME/versions/latest. A new version is
# noticed within the hour; at once, where the partner refuses the key that is in use.

resource "google_secret_manager_secret" "partners" {
  for_each = var.secrets

  secret_id = "${var.name}-${each.value}"

  replication {
    user_managed {
      replicas {
        location = var.region
      }
    }
  }

  depends_on = [google_project_service.used]
}

resource "google_secret_manager_secret_iam_member" "pipeline" {
  for_each = google_secret_manager_secret.partners

  secret_id = each.value.id
  role      = "roles/secretmanager.secretAccessor"
  member    = local.pipeline
}
