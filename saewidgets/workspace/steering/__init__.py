"""Steering with the SAEs of a workspace: by their ids, on the model they were made for, beside what runs there."""
