with

source as (

    select * from {{ ref('raw_items') }}

),

renamed as (

    select
        id as order_item_id,
        order_id,
        sku as product_id,
        quantity,
        {{ cents_to_dollars('unit_price') }} as unit_price,

    from source

)

select * from renamed
